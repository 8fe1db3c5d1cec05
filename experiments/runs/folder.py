"""The folder of a run: what lies where in it, and who may write there."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import Config
from experiments.config.explain import flatten
from experiments.config.load import dump_config, load_config
from experiments.errors import UsageError
from experiments.files import write_whole

# What may change between two starts of a run. On another mesh sums are rounded otherwise; all else
# does not change a single bit of the result.
_NEUTRAL = {
    "run",
    "data.cache",
    "data.streamed",
    "train.checkpoint_every",
    "train.keep",
    "mesh.data",
    "mesh.frame",
    "compilation_cache",
}

_ROUNDING = 1e-7


class RunFolder:
    """The paths in the folder of a run, and its metrics file.

    Args:
      path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.evaluation = self.path / "evaluation.json"
        self.report = self.path / "report.md"
        self.facts = self.path / "facts.json"
        self.data = self.path / "data.json"

    def load_config(self, overrides: Sequence[str] = ()) -> Config:
        """Reads the configuration of a run that was started before.

        Args:
          overrides: assignments that replace values, as those of `load_config`; stored values that
            have no meaning beside them are forgotten.

        Raises:
          UsageError: if the folder is not that of a run.
        """
        if not os.path.isdir(self.path):
            raise UsageError(f"{self.path}: must be the folder of a run, got no such folder")
        if not os.path.isfile(self.config):
            raise UsageError(
                f"{self.path}: must be the folder of a run, got a folder without {self.config.name}"
            )
        return load_config(self.config, overrides, stored=True)

    @contextmanager
    def training(self, config: Config) -> Iterator[None]:
        """Claims the folder for one process that trains, and stores the configuration in it.

        If the configuration turns out to be unusable, the folder keeps the one that it had. A new one
        is left empty, so that it may be put right.

        Raises:
          UsageError: if another process trains in the folder, or a run with another configuration
            is in it, or something that is not a run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise UsageError(f"run: {self.path} cannot be written: {error.strerror}") from None
        try:
            try:
                # The system releases it when the process ends, however it ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(lock, 32).decode().strip()
                raise UsageError(
                    f"run: {self.path} must be trained by one process at a time, got a second one "
                    f"beside process {owner}"
                ) from None
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            before = self.config.read_text() if self.config.is_file() else None
            self._claim(config)
            try:
                yield
            except UsageError:
                if before is not None:
                    write_whole(self.config, before)
                elif not self.checkpoints.is_dir():
                    for path in (self.config, self.facts, self.data):
                        path.unlink(missing_ok=True)
                raise
        finally:
            os.close(lock)

    def _claim(self, config: Config) -> None:
        for unfinished in (*self.path.glob(".*.tmp"), *self.path.glob("*.unfinished")):
            unfinished.unlink()
        others = {path.name for path in self.path.iterdir()} - {"lock"}
        if self.config.is_file():
            stored, asked = flatten(self.load_config()), flatten(config)
            different = [
                f"{key}: {stored[key]!r} in the folder, {asked[key]!r} asked for"
                for key in asked
                if asked[key] != stored[key] and key not in _NEUTRAL
            ]
            if different:
                raise UsageError(
                    f"run: {self.path} holds a run, whose configuration must be the same, got "
                    "another one; take another folder with run=FOLDER\n  " + "\n  ".join(different)
                )
        elif others:
            raise UsageError(
                f"run: {self.path} must be a new or empty folder or that of a run, got one that holds "
                f"{sorted(others)[0]} and no run"
            )
        write_whole(self.config, dump_config(config))

    def keep_facts(self, facts: Mapping[str, Any]) -> None:
        """Stores `Task.facts` the first time, and compares them with what is stored later.

        Raises:
          UsageError: as `check_facts`, if something is stored.
        """
        if self.facts.is_file():
            self.check_facts(facts)
        else:
            write_whole(self.facts, json.dumps(facts, indent=2) + "\n")

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Compares `Task.facts` with what is stored.

        Raises:
          UsageError: if they differ by more than the rounding in which machines differ: the data
            are not those that the run began with.
        """
        self._refuse_others(self.load_facts(), facts, self.facts)

    def keep_data(self, told: Mapping[str, Any]) -> None:
        """Stores numbers that tell the data of a run the first time, and compares them later.

        Raises:
          UsageError: as `check_data`, if something is stored.
        """
        if self.data.is_file():
            self.check_data(told)
        else:
            write_whole(self.data, json.dumps(told, indent=2) + "\n")

    def check_data(self, told: Mapping[str, Any]) -> None:
        """Compares numbers that tell the data with what is stored, if there is anything.

        Raises:
          UsageError: as of `check_facts`.
        """
        if self.data.is_file():
            self._refuse_others(json.loads(self.data.read_text("utf-8")), told, self.data)

    def _refuse_others(
        self, stored: Mapping[str, Any], told: Mapping[str, Any], path: Path
    ) -> None:
        if stored.keys() != told.keys() or not all(
            np.shape(stored[name]) == np.shape(told[name])
            and np.allclose(stored[name], told[name], rtol=_ROUNDING, atol=_ROUNDING)
            for name in told
        ):
            raise UsageError(
                f"run: the data must be those that the run in {self.path} began with, got others: "
                f"its {path.name} differs; take another folder for them"
            )

    def load_facts(self) -> dict[str, Any]:
        """Reads what `keep_facts` stored.

        Raises:
          UsageError: if it is not there, or not whole.
        """
        try:
            return json.loads(self.facts.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UsageError(
                f"{self.path}: must hold a readable {self.facts.name}, which training writes"
            ) from None

    def truncate_metrics(self, step: int) -> float:
        """Deletes the metrics after a step.

        Returns:
          The seconds of training that the metrics up to the step took.
        """
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        write_whole(self.metrics, "".join(_line(record) for record in kept))
        return kept[-1]["seconds"] if kept else 0.0

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds a line to the metrics, on the disk when this returns."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """The metrics of every validation so far, without a last line that is half written."""
        if not self.metrics.is_file():
            return []
        lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
