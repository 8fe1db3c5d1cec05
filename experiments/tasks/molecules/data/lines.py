"""Lines of a text that are read as they are asked for, and forgotten when they are done with."""

import io
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import IO, overload


def text_lines(open_file: Callable[[], IO[bytes]]) -> Generator[str, None, None]:
    """The lines of a file in UTF-8, with any of the three ends of lines turned into a newline.

    Comments may be in any encoding: an invalid byte is an error only where it matters.
    """
    with io.TextIOWrapper(open_file(), encoding="utf-8-sig", errors="replace") as text:
        yield from text


class Lines(Sequence[str]):
    """The lines of a text without their ends, as a list would have them.

    Args:
      lines: one after the other.
      count: how many of them count.
    """

    def __init__(self, lines: Iterator[str], count: int) -> None:
        self._lines, self._count = lines, count
        self._kept: list[str] = []
        self._first = 0

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Lines, none of them before the last index that `forget` was given."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        if not self._first <= index < self._count:
            raise IndexError(index)
        while index >= self._first + len(self._kept):
            # A file that was cut since it was measured has blank lines there.
            self._kept.append(next(self._lines, "").removesuffix("\n"))
        return self._kept[index - self._first]

    def forget(self, before: int) -> None:
        """Forgets the lines before an index; they cannot be asked for any more."""
        done = min(before - self._first, len(self._kept))
        del self._kept[:done]
        self._first += done
