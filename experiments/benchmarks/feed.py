"""How long steps of training wait for examples that are read from files, and what they cost.

Run with `python -m experiments benchmark feed --out DIR`, on an idle machine. The same run is
trained twice, from memory and from files (`data.streamed`).
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.config import Config
from experiments.config.load import load_config
from experiments.data.npz import write_npz
from experiments.runs.folder import RunFolder
from experiments.tasks.registry import make_task
from experiments.training.train import train

_CONFIG = Path(__file__).parents[2] / "configs" / "nbody.yaml"
_CAPTION = (
    "Charged bodies by `configs/nbody.yaml`, from memory and from files. Seconds of an epoch are "
    "means over all epochs but the first one, which compiles. Waiting is the part of them in which "
    "a step waited for its examples."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with the given options."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments benchmark feed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--epochs", type=positive, default=3, help="after the first (default 3)")
    parser.add_argument(
        "--examples", type=positive, default=3000, help="to train on (default 3000)"
    )
    parser.add_argument("overrides", nargs="*", help="replace values of the configuration, as k=v")
    add_out(parser)
    options = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Without the warm-up, which is longer than some epochs.
        sizes = {"epochs": 1 + options.epochs, "evaluate_every": 1, "checkpoint_every": 1}
        sizes["warmup_steps"] = 0
        counts = {"num_train": options.examples, "num_valid": 100, "num_test": 1}
        overrides = [
            *(f"train.{key}={value}" for key, value in sizes.items()),
            *(f"data.{key}={value}" for key, value in counts.items()),
            f"data.cache={folder}",
            *options.overrides,
        ]
        simulated = load_config(_CONFIG, [*overrides, f"run={folder / 'memory'}"])
        path = folder / "bodies.npz"
        splits = make_task(simulated).splits
        write_npz(path, {f"{k}_{s}": v for s, split in splits.items() for k, v in split.items()})
        fed = [f"data.path={path}", "data.streamed=true", f"run={folder / 'files'}"]
        measured = {
            "memory": _measured(simulated),
            "files": _measured(load_config(_CONFIG, [*overrides, *fed])),
        }
    rows = [
        [where, f"{seconds:.3f}", f"{seconds / measured['memory'][0]:.2f}", f"{100 * waiting:.2f}"]
        for where, (seconds, waiting) in measured.items()
    ]
    table = Table(["examples from", "seconds an epoch", "of memory", "waiting, %"], rows)
    print_caption(console, _CAPTION)
    print_tables(console, table)
    if options.out is not None:
        numbers = {
            where: {"seconds": seconds, "waiting": waiting}
            for where, (seconds, waiting) in measured.items()
        }
        print_paths(console, write_report(options.out, "feed", _CAPTION, [table], numbers))


def _measured(config: Config) -> tuple[float, float]:
    """The seconds of an epoch after the first one, and the part of them spent waiting."""
    folder = RunFolder(config.run)
    with folder.training(config):
        train(config, folder, make_task(config), Console(quiet=True))
    first, *_, last = folder.read_metrics()
    seconds = last["seconds"] - first["seconds"]
    waited = last.get("waited", 0.0) - first.get("waited", 0.0)
    return seconds / (last["epoch"] - first["epoch"]), waited / seconds
