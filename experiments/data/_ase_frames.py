"""Files that ASE reads: frames of any size, as arrays that are padded with zeros."""

import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, get_compression, open_with_compression

from experiments.data._units import Units, check_declared
from experiments.data._xyz import read_xyz
from experiments.data.npz import DataError

# What the name says is binding for these; for all others ASE looks at the content too.
_KINDS = {".xyz": "extxyz", ".extxyz": "extxyz", ".txt": "extxyz", ".traj": "traj", ".db": "db"}


def read_frames(path: str | os.PathLike[str]) -> tuple[list[Atoms], list[str]]:
    """All frames of a file, and the place where each of them is.

    Args:
      path: a file of any kind that ASE reads; one ending in `.txt` is taken for XYZ.

    Returns:
      The frames, and for each the file, the frame counted from 1, and, for XYZ, a line.

    Raises:
      DataError: the file is missing, unreadable or not of the kind its name says.
    """
    file = Path(path)
    if not file.is_file():
        defect = "a folder" if file.is_dir() else "no such file"
        raise DataError(f"{path}: {defect}; allowed: a readable file with molecules")
    # Absolute: ASE takes names such as `-` and `postgres...` for something else than files.
    name = str(file.resolve())
    try:
        kind = _KINDS.get(Path(get_compression(name)[0]).suffix.lower()) or filetype(name)
        with open_with_compression(name, "rb") as opened:
            content = opened.read(-1 if kind in ("xyz", "extxyz") else 1)
    except (OSError, EOFError, zlib.error, LZMAError, UnknownFileTypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); allowed: an intact file of a kind that ASE reads, "
            "such as .xyz, .extxyz, .db and .traj, or .npz"
        ) from error
    if kind in ("xyz", "extxyz"):
        images, lines = read_xyz(path, content)
        return images, [f"{path}: frame {n}, line {line}" for n, line in enumerate(lines, start=1)]
    try:
        images = _database(name) if kind == "db" else _other(name, kind)
    except Exception as error:  # ASE raises whatever its readers meet.
        raise DataError(
            f"{path}: cannot be read as {kind} ({type(error).__name__}: {error}); allowed: an "
            "intact file of the kind that its name says"
        ) from error
    return images, [f"{path}: frame {n + 1}" for n in range(len(images))]


def _database(name: str) -> list[Atoms]:
    # Not ase.io.read, which leaves out what users store beside the results of calculators.
    with ase.db.connect(name, type="db", serial=True) as database:
        return [row.toatoms(add_additional_information=True) for row in database.select()]


def _other(name: str, kind: str) -> list[Atoms]:
    return list(ase.io.iread(name, ":", format=kind, do_not_split_by_at_sign=True, parallel=False))


def stack_frames(
    images: Sequence[Atoms],
    places: Sequence[str],
    keys: Mapping[str, str | None],
    need: Collection[str],
    units: Units,
) -> dict[str, np.ndarray]:
    """Frames as arrays, in the units of the file.

    Args:
      images: at least one.
      places: where they are, for errors.
      keys: what the quantities of `Molecules` are called in the frames; `None` for nothing.
      need: those that must be there; the others are read if the first frame has them.
      units: what the caller states, to be checked against what the frames declare.

    Returns:
      `species`, `positions`, and those of `keys` that are there.

    Raises:
      DataError: a frame lacks what it must have, or has something else than numbers.
    """
    count, atoms = len(images), max(map(len, images))
    first = _found(images[0])
    wanted = {
        name: key
        for name, key in keys.items()
        if key is not None and (name in need or key in first)
    }
    shapes: dict[str, tuple[int, ...]] = {
        "energies": (),
        "forces": (atoms, 3),
        "dipoles": (3,),
        "polarizabilities": (3, 3),
    }
    arrays = {name: np.zeros((count, *shapes[name])) for name in wanted}
    species, positions = np.zeros((count, atoms), np.int32), np.zeros((count, atoms, 3))
    for index, (image, place) in enumerate(zip(images, places, strict=True)):
        found = _found(image)
        check_declared(place, found, units)
        if len(image) == 0 or np.any(image.numbers < 1):
            raise DataError(f"{place}: has no atoms or a dummy atom; allowed: atoms of elements")
        species[index, : len(image)] = image.numbers
        positions[index, : len(image)] = image.positions
        for name, key in wanted.items():
            if key not in found:
                raise DataError(
                    f"{place}: has no {name} (key {key!r}); received: {_listed(found)}; "
                    f"allowed: in every frame, another key, or to need no {name}"
                )
            where = f"{place}: {name} (key {key!r})"
            if name == "forces":
                arrays[name][index, : len(image)] = _numbers(where, found[key], (len(image), 3))
            else:
                arrays[name][index] = _numbers(where, found[key], shapes[name])
    return {"species": species, "positions": positions, **arrays}


def _found(image: Atoms) -> dict[str, Any]:
    results = image.calc.results if image.calc is not None else {}
    holders = [image.info.get(key, {}) for key in ("data", "key_value_pairs")]
    return {
        key: value
        for holder in (*holders, image.info, image.arrays, results)
        for key, value in holder.items()
        # In a plain comment line a word of its own is a key whose value is true.
        if not isinstance(value, bool | np.bool_)
    }


def _listed(found: Mapping[str, Any]) -> str:
    own = ("numbers", "positions", "data", "key_value_pairs", "unique_id")
    return ", ".join(sorted(key for key in found if key not in own)) or "nothing"


def _numbers(where: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where} is {value!r}; allowed: numbers")
    if array.shape != shape and not (shape == () and array.size == 1):
        raise DataError(f"{where} has shape {array.shape}; allowed: {shape}")
    return array.reshape(shape)
