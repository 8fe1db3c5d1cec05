"""The snapshots of a file one by one: where one has a defect, the others are still read."""

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from lzma import LZMAError
from pathlib import Path

import ase.db
import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, get_compression, open_with_compression
from ase.io.trajectory import Trajectory

from experiments.data.npz import DataError, refuse_unreadable
from experiments.errors import UsageError
from experiments.tasks.molecules.data.npz_files import read_arrays
from experiments.tasks.molecules.data.units import stated_units
from experiments.tasks.molecules.data.xyz import Snapshots, xyz_snapshots

# What the name says is binding for these; for all others ASE looks at the content too.
_KINDS = {".xyz": "extxyz", ".extxyz": "extxyz", ".txt": "extxyz", ".traj": "traj", ".db": "db"}


def stream_snapshots(path: str | os.PathLike[str], split: str | None = None) -> Snapshots:
    """The snapshots of a file one by one; of `.npz` files without energies and forces.

    After a defect, XYZ goes on with the next line that can only be the number of atoms of a
    snapshot; trajectories and databases go on with the next snapshot. Other kinds of files end with
    their first defect.

    Args:
      path: a file of any kind that ASE reads, where one that ends in `.txt` is taken for XYZ; or an
        `.npz` file in the layout of MD17, in angstrom.
      split: for `.npz` files with several sets, the end of their names: `train` for `R_train`.

    Returns:
      For each snapshot its location, which is the file, the number of the snapshot, from 1, and,
      for XYZ, a line; and the snapshot, or the error that says what is wrong with it.

    Raises:
      UsageError: a split of another file than `.npz`.
      DataError: the file is missing, unreadable or not of the kind its name says.
    """
    file = Path(path)
    npz = file.suffix.lower() == ".npz"
    if split is not None and not npz:
        raise UsageError(f"split must be None for files other than .npz, got {split!r} for {path}")
    refuse_unreadable(path, "a readable file with molecules")
    if npz:
        return _arrays(path, split)
    # Absolute: ASE takes names such as `-` and `postgres...` for something else than files.
    name = str(file.resolve())
    try:
        kind = _KINDS.get(Path(get_compression(name)[0]).suffix.lower()) or filetype(name)
        with open_with_compression(name, "rb") as opened:
            content = opened.read(-1 if kind in ("xyz", "extxyz") else 1)
    except (OSError, EOFError, zlib.error, LZMAError, UnknownFileTypeError) as error:
        raise DataError(
            f"{path}: must be an intact file of a kind that ASE reads, such as .xyz, .extxyz, .db "
            f"and .traj, or .npz, got one that cannot be read ({error})"
        ) from error
    if kind in ("xyz", "extxyz"):
        return xyz_snapshots(path, content)
    try:
        if kind == "traj":
            return _trajectory(path, name)
        if kind == "db":
            return _database(path, name)
    except Exception as error:  # ASE raises whatever its readers meet.
        raise DataError(
            f"{path}: must be an intact file of the kind that its name says, got one that cannot "
            f"be read as {kind} ({type(error).__name__}: {error})"
        ) from error
    images = ase.io.iread(name, ":", format=kind, do_not_split_by_at_sign=True, parallel=False)
    return _until_defect(path, kind, images)


def _arrays(path: str | os.PathLike[str], split: str | None) -> Snapshots:
    arrays, defects = read_arrays(path, {}, (), split, stated_units())
    pairs = zip(arrays["species"], arrays["positions"], strict=True)
    return (
        (
            f"{path}: snapshot {index + 1}",
            defects.get(index) or Atoms(numbers[numbers > 0], positions[numbers > 0]),
        )
        for index, (numbers, positions) in enumerate(pairs)
    )


def _trajectory(path: str | os.PathLike[str], name: str) -> Snapshots:
    with ExitStack() as stack:
        # Opened here, because ASE leaves the file open if its header is damaged.
        trajectory = Trajectory(stack.enter_context(open(name, "rb")))
        reads = [partial(trajectory.__getitem__, index) for index in range(len(trajectory))]
        return _independent(path, reads, stack.pop_all())


def _database(path: str | os.PathLike[str], name: str) -> Snapshots:
    with ExitStack() as stack:
        database = stack.enter_context(ase.db.connect(name, type="db", serial=True))
        rows = [row.id for row in database.select(columns=["id"])]
        # With what users store beside the results of calculators.
        read = partial(database.get_atoms, add_additional_information=True)
        return _independent(path, [partial(read, row) for row in rows], stack.pop_all())


def _independent(
    path: str | os.PathLike[str], reads: Sequence[Callable[[], Atoms]], opened: ExitStack
) -> Snapshots:
    with opened:
        for index, read in enumerate(reads, start=1):
            location = f"{path}: snapshot {index}"
            outcome: Atoms | DataError
            try:
                outcome = read()
            except Exception as error:  # ASE raises whatever its readers meet.
                outcome = DataError(
                    f"{location}: must be intact, got one that cannot be read "
                    f"({type(error).__name__}: {error})"
                )
            yield location, outcome


def _until_defect(path: str | os.PathLike[str], kind: str, images: Iterable[Atoms]) -> Snapshots:
    index = 0
    try:
        for index, atoms in enumerate(images, start=1):
            yield f"{path}: snapshot {index}", atoms
    except Exception as error:  # ASE raises whatever its readers meet.
        location = f"{path}: snapshot {index + 1}"
        yield (
            location,
            DataError(
                f"{location}: must be intact, got one that cannot be read as {kind}, nor can what "
                f"follows it ({type(error).__name__}: {error})"
            ),
        )
