"""What a person sees while a run trains: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows how far a run is; a context manager.

    Args:
      console: where to write.
      metric: the name of the validation metric.
      done: number of steps taken before.
      total: number of steps of the run.
    """

    def __init__(self, console: Console, metric: str, done: int, total: int):
        self._console = console
        self._metric = metric
        self._total = total
        self._last = (time.monotonic(), done)
        self._bar = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._best = ""
        self._task = self._bar.add_task("", total=total, completed=done, status="compiling")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def dispatched(self, step: int, loss: float) -> None:
        """Shows the step that a dispatch ended with and its mean loss."""
        now, (before, last) = time.monotonic(), self._last
        self._last = (now, step)
        speed = (step - last) / (now - before)
        status = f"loss {loss:.3g}{self._best}  {speed:.1f} steps/s"
        self._bar.update(self._task, completed=step, status=status)

    def validated(self, record: dict[str, Any]) -> None:
        """Shows the metrics of a validation."""
        best = _mean(record["best"])
        self._best = f"  best {self._metric} {best:.3g}"
        # The time of the validation is no part of the speed of the steps.
        self._last = (time.monotonic(), record["step"])
        if not self._console.is_terminal:
            self._console.print(
                f"step {record['step']}/{self._total}  epoch {record['epoch']}  "
                f"loss {_mean(record['loss']):.4g}  "
                f"valid {self._metric} {_mean(record['valid'][self._metric]):.4g}  "
                f"best {best:.4g}  {record['seconds']:.1f} s",
                soft_wrap=True,
            )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
