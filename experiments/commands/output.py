"""Standard output and errors of a command, whose work goes on when nobody reads them any more."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, cast


class Output:
    """A text stream that a failure to write does not stop; the rest of the output is dropped.

    Args:
      stream: what is written to.
      told: whether the first failure is told on standard error.

    Attributes:
      failure: the first failure to write to it, if there was one.
    """

    def __init__(self, stream: IO[str], told: bool) -> None:
        self.failure: OSError | None = None
        self._stream = stream
        self._told = told

    def __getattr__(self, name: str) -> Any:
        """What else a stream has is that of the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, as long as that is possible."""
        with self._noted():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Passes on what was written, as long as that is possible."""
        with self._noted():
            self._stream.flush()

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is left in the buffer would fail again, at the latest when Python ends.
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())
            if self.failure is None:
                self.failure = error
                if self._told:
                    print(_explanation(error), file=sys.stderr)


@contextlib.contextmanager
def lasting_output() -> Iterator[list[Output]]:
    """Lets a command go on when its standard output or its errors cannot be written any more.

    Returns:
      A context of the two streams, or of fewer if the process was started without.
    """
    # Either is None where the process was started with it closed.
    output = None if sys.stdout is None else Output(sys.stdout, told=True)
    errors = None if sys.stderr is None else Output(sys.stderr, told=False)
    wrapped = [stream for stream in (output, errors) if stream is not None]
    with (
        contextlib.redirect_stderr(cast(IO[str], errors)),
        contextlib.redirect_stdout(cast(IO[str], output)),
    ):
        try:
            yield wrapped
        finally:
            for stream in wrapped:
                stream.flush()


def _explanation(error: OSError) -> str:
    if isinstance(error, BrokenPipeError):
        return "warning: nobody reads the output any more; the work goes on without it"
    return (
        f"error: the output cannot be written ({error.strerror}); the work goes on without it, and "
        "the exit code will not be 0"
    )
