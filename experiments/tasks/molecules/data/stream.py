"""The snapshots of a file one by one: where one has a defect, the others are still read."""

import io
import os
import zlib
from collections.abc import Iterable, Mapping
from functools import partial
from lzma import LZMAError
from pathlib import Path

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, get_compression, open_with_compression

from experiments.data.npz import DataError, read_npz, refuse_unreadable
from experiments.errors import UsageError
from experiments.tasks.molecules.data.indexed import INDEXED, indexed_snapshots
from experiments.tasks.molecules.data.npz_files import read_arrays
from experiments.tasks.molecules.data.records import (
    SINGLE,
    pdb_with_ends,
    sdf_snapshots,
    units_in,
    warn_of_others,
)
from experiments.tasks.molecules.data.units import Units, check_declared, stated_units
from experiments.tasks.molecules.data.xyz import Snapshots, xyz_snapshots

# What the name says is binding for these; for all others ASE looks at the content too.
_KINDS = {".xyz": "extxyz", ".extxyz": "extxyz", ".txt": "extxyz", ".traj": "traj", ".db": "db"}
_SDF = ("sdf", "mol")
_HEAD = 10_000
"""Bytes that are looked at of a file of another format than those below."""
# Their text is looked at before ASE reads it.
_TEXTS = ("proteindatabank", *_SDF, *SINGLE)


def stream_snapshots(
    path: str | os.PathLike[str], split: str | None = None, species_key: str | None = None
) -> Snapshots:
    """The snapshots of a file one by one; of `.npz` files without energies and forces.

    After a defect, XYZ goes on with the next line that can only be the number of atoms of a
    snapshot; SDF, trajectories and databases go on with the next snapshot. Other kinds of files end
    with their first defect. Warns of files that hold several structures of which ASE reads one.

    Args:
      path: a file of any kind that ASE reads, where one that ends in `.txt` is taken for XYZ; or an
        `.npz` file in the layout of MD17, in angstrom.
      split: for `.npz` files with several sets, the end of their names: `train` for `R_train`.
      species_key: for `.npz` files, what they call the atomic numbers; `None` for a usual name.

    Returns:
      For each snapshot its location, which is the file, the number of the snapshot, from 1, and,
      for XYZ and SDF, a line; and the snapshot, or the error that says what is wrong with it.

    Raises:
      UsageError: a split or a key of species of another file than `.npz`.
      DataError: the file is missing, unreadable, not of the kind its name says, or declares another
        unit of length.
    """
    if Path(path).suffix.lower() == ".npz":
        refuse_unreadable(path, "a readable file with molecules")
        return _arrays(path, split, species_key)
    refuse_options_of_arrays(path, split, species_key)
    _, snapshots = open_snapshots(path, stated_units())
    return snapshots


def refuse_options_of_arrays(
    path: str | os.PathLike[str], split: str | None, species_key: str | None
) -> None:
    """Refuses what only `.npz` files take.

    Raises:
      UsageError: one of the two is not `None`.
    """
    for option, value in (("split", split), ("species_key", species_key)):
        if value is not None:
            raise UsageError(
                f"{option} must be None for files other than .npz, got {value!r} for {path}"
            )


def open_snapshots(
    path: str | os.PathLike[str], units: Units | None = None
) -> tuple[Mapping[str, object], Snapshots]:
    """What a file that ASE reads says of all its snapshots, and they as of `stream_snapshots`.

    Args:
      path: the file.
      units: what the caller states, to check lengths against; `None` for no check.

    Raises:
      DataError: the file is missing, unreadable, not of the kind its name says, or declares another
        unit of length.
    """
    refuse_unreadable(path, "a readable file with molecules")
    # Absolute: ASE takes names such as `-` and `postgres...` for something else than files.
    name = str(Path(path).resolve())
    try:
        kind = _KINDS.get(Path(get_compression(name)[0]).suffix.lower()) or filetype(name)
        if kind in ("xyz", "extxyz"):
            return {}, xyz_snapshots(path, partial(open_with_compression, name, "rb"))
        with open_with_compression(name, "rb") as opened:
            content = opened.read(-1 if kind in _TEXTS else _HEAD)
    except (OSError, EOFError, zlib.error, LZMAError, UnknownFileTypeError) as error:
        raise DataError(
            f"{path}: must be an intact file of a kind that ASE reads, such as .xyz, .extxyz, .db "
            f"and .traj, or .npz, got one that cannot be read ({error})"
        ) from error
    text = "\n".join(content.decode("utf-8", errors="replace").splitlines())
    if kind in _SDF:
        return {}, sdf_snapshots(path, text)
    if kind in SINGLE:
        warn_of_others(path, kind, text)
    try:
        if kind in INDEXED:
            return indexed_snapshots(path, name, kind, units)
    except DataError:
        raise
    except Exception as error:  # ASE raises whatever its readers meet.
        raise DataError(
            f"{path}: must be an intact file of the kind that its name says, got one that cannot "
            f"be read as {kind} ({type(error).__name__}: {error})"
        ) from error
    metadata = units_in(path, kind, text)
    if units is not None:
        check_declared(str(path), metadata, units, ["positions"])
    source = io.StringIO(pdb_with_ends(text)) if kind == "proteindatabank" else name
    images = ase.io.iread(source, ":", format=kind, do_not_split_by_at_sign=True, parallel=False)
    return metadata, _until_defect(path, kind, images)


def _arrays(path: str | os.PathLike[str], split: str | None, species_key: str | None) -> Snapshots:
    stored = read_npz(path, refuse_objects=False)
    [(arrays, defects)] = read_arrays(path, stored, {}, (), split, stated_units(), species_key)
    species, positions = arrays["species"], arrays["positions"]

    def snapshot(index: int) -> Atoms:
        real = species[index] > 0
        periodic = {"cell": "cells", "pbc": "pbc"} if "cells" in arrays else {}
        of_cell = {name: arrays[array][index] for name, array in periodic.items()}
        return Atoms(species[index][real], positions[index][real], **of_cell)

    return (
        (f"{path}: snapshot {index + 1}", defects.get(index) or snapshot(index))
        for index in range(len(species))
    )


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
