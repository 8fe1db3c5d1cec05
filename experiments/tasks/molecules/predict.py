"""The command `predict`: energies, forces and stresses of structures of a file, as extended XYZ."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ase import Atoms
from jaxtyping import Array, PyTree
from rich.console import Console

from experiments.config.sections import MeshConfig
from experiments.data.npz import DataError
from experiments.errors import ExperimentError, InterruptedRunError, UsageError
from experiments.tasks.molecules.batches import LARGE, PAIRS, Evaluator, failure
from experiments.tasks.molecules.data.stream import stream_snapshots
from experiments.tasks.molecules.data.xyz import Snapshots
from experiments.tasks.molecules.energies import PotentialLike, Precision
from experiments.tasks.molecules.predicted_snapshot import as_extended_xyz
from experiments.tasks.molecules.prediction_file import PredictionFile, refuse_output
from experiments.training.interrupt import Interrupt
from experiments.training.mesh import make_mesh

_WINDOW = 256
"""Snapshots that are sorted by size and written together, and that a kill loses at most."""
_LISTED = 50
"""Failures that are explained; of further ones only the numbers are listed."""


class _Failure(NamedTuple):
    number: int
    reason: str


def predict(
    potential: PotentialLike,
    params: PyTree[Array],
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    console: Console,
    *,
    split: str | None = None,
    overwrite: bool = False,
    ignore_cells: bool = False,
    dtype: Precision = "float32",
) -> None:
    """Writes the energy and forces of every structure of a file, in its order, and its stress.

    A snapshot that cannot be read, predicted or written is left out, and costs no other. What is
    done is in `output.part`, which holds whole snapshots however the process ends; it becomes
    `output` at the end. Each snapshot has its number in the file, from 1, as `source_snapshot`, and
    what the file says of it: columns, info, constraints and cell.

    Args:
      potential: the energy, its elements and references.
      params: its parameters.
      path: anything that ASE reads, or `.npz`, in angstrom.
      output: a file that ends in `.xyz` or `.extxyz`; its folder is created.
      console: where to say what was done.
      split: for `.npz` files with several sets, the end of their names: `train` for `R_train`.
      overwrite: whether `output`, or what a stopped prediction left of it, may be replaced.
      ignore_cells: whether periodic snapshots are taken for molecules, which their entry
        `cell_ignored` says.
      dtype: the precision that the energies above their references are computed in.

    Raises:
      UsageError: the file cannot be read at all or holds no snapshot, or `output` exists or
        cannot be written.
      InterruptedRunError: the process was told to stop.
      ExperimentError: at the end, if snapshots failed: which, and why.
    """
    source, target = Path(path), Path(output)
    refuse_output(source, target, overwrite)
    snapshots = _contained(source, stream_snapshots(source, split))
    evaluate = Evaluator(potential, params, dtype, make_mesh(MeshConfig()))
    failures: list[_Failure] = []
    undetermined: list[str] = []
    replaced: dict[str, None] = {}
    lost: dict[str, str] = {}
    total = 0
    with (
        Interrupt() as interrupt,
        PredictionFile(target, overwrite) as file,
        console.status("reading") as status,
    ):
        window: list[tuple[int, str, Atoms]] = []
        pairs = 0

        def write_window() -> None:
            asked = [(label, _asked(atoms, ignore_cells)) for _, label, atoms in window]
            results = evaluate(asked)
            texts = []
            for (number, label, atoms), result in zip(window, results, strict=True):
                try:
                    if isinstance(result, DataError):
                        raise result
                    ignored = ignore_cells and bool(atoms.pbc.any())
                    found = result._replace(atoms=atoms)
                    written = as_extended_xyz(number, found, cell_ignored=ignored)
                    known = potential.determined(atoms.numbers)
                except Exception as error:
                    failures.append(_Failure(number, str(failure(label, atoms, error))))
                    continue
                texts.append(written.text)
                replaced.update(dict.fromkeys(written.replaced))
                for name in written.lost:
                    lost.setdefault(name, label)
                if not known:
                    undetermined.append(label)
            try:
                file.append(texts)
            except UsageError as error:
                raise UsageError("\n".join([str(error), *_listed(source, failures)])) from error
            window.clear()
            status.update(f"{total} snapshots read, {file.snapshots} written")

        for total, (label, snapshot) in enumerate(snapshots, start=1):
            if isinstance(snapshot, DataError):
                failures.append(_Failure(total, str(snapshot)))
            else:
                if len(snapshot) > LARGE:
                    # Should the system kill the process for it, the others are written.
                    write_window()
                    pairs = 0
                window.append((total, label, snapshot))
                pairs += len(snapshot) ** 2
            if len(window) == _WINDOW or pairs > 16 * PAIRS or interrupt.received:
                write_window()
                pairs = 0
            if interrupt.received:
                kept = (
                    f"{file.snapshots} are in {file.part}"
                    if file.snapshots
                    else "none could be made"
                )
                raise InterruptedRunError(
                    "\n".join(
                        [
                            f"stopped; of the predictions of the first {total} snapshots {kept}",
                            *_listed(source, failures),
                        ]
                    )
                )
        write_window()
        if not total:
            raise DataError(f"{source}: must hold at least one molecule, got none")
        if file.snapshots:
            file.finish()
    if undetermined:
        warnings.warn(
            f"{undetermined[0]}: no training molecules determine the energies of its atoms "
            f"({len(undetermined)} of {total} snapshots): its energy has an unknown constant, which "
            "is the same for all molecules of its composition",
            stacklevel=2,
        )
    if lost:
        warnings.warn(
            f"{next(iter(lost.values()))}: cannot be written as extended XYZ with all that the file "
            f"says of its snapshots; left out: {', '.join(map(str, lost))}",
            stacklevel=2,
        )
    if file.snapshots:
        console.print(
            f"wrote {target}: energies (eV), forces (eV/Angstrom) and, of crystals, stresses "
            f"(eV/Angstrom^3) of {file.snapshots} of {total} snapshots",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    if replaced:
        console.print(
            "not taken over from the file, as it would be mistaken for predictions and their units: "
            f"{', '.join(replaced)}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    if failures:
        rest = (
            f"the other {file.snapshots} are in {target}"
            if file.snapshots
            else "nothing is written"
        )
        raise ExperimentError(
            f"{source}: {len(failures)} of {total} snapshots could not be predicted; {rest}\n"
            + "\n".join(_listed(source, failures))
        )


def _asked(atoms: Atoms, ignore_cells: bool) -> Atoms:
    """The atoms that a snapshot is asked about: without its cell if that does not matter."""
    if not ignore_cells or not atoms.pbc.any():
        return atoms
    molecule = Atoms(atoms.numbers, atoms.positions)
    molecule.info = atoms.info
    return molecule


def _contained(source: Path, snapshots: Snapshots) -> Iterator[tuple[str, Atoms | DataError]]:
    """The same snapshots; where reading ends with an exception, that is what is wrong there."""
    read = 0
    try:
        for snapshot in snapshots:
            read += 1
            yield snapshot
    except Exception as error:
        label = f"{source}: snapshot {read + 1}"
        reason = " ".join(str(error).split())[:300]
        yield (
            label,
            DataError(
                f"{label}: must be one that can be read, got one that cannot, nor can what follows "
                f"it ({type(error).__name__}: {reason})"
            ),
        )


def _listed(source: Path, failures: Sequence[_Failure]) -> list[str]:
    failures = sorted(failures)
    lines = [f"  {failure.reason.removeprefix(f'{source}: ')}" for failure in failures[:_LISTED]]
    more = [failure.number for failure in failures[_LISTED:]]
    if more:
        lines.append(f"  and {len(more)} more, snapshots {_ranges(more)}")
    return lines


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, those that follow each other as `3-5`."""
    known = set(numbers)
    starts = [n for n in numbers if n - 1 not in known]
    ends = [n for n in numbers if n + 1 not in known]
    return ", ".join(
        str(first) if first == last else f"{first}-{last}"
        for first, last in zip(starts, ends, strict=True)
    )
