"""Databases and trajectories, of which each snapshot is read on its own."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import ase.db
from ase import Atoms
from ase.io.trajectory import Trajectory

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.units import Units, check_declared
from experiments.tasks.molecules.data.xyz import Snapshots

INDEXED = ("traj", "db", "json")
"""What ASE calls these formats."""


def indexed_snapshots(
    path: str | os.PathLike[str], name: str, kind: str, units: Units | None
) -> tuple[Mapping[str, object], Snapshots]:
    """What a file says of all its snapshots, and the snapshots: a defect of one costs no other.

    Args:
      path: the name of the file, for errors.
      name: the same, absolute.
      kind: one of `INDEXED`.
      units: what the caller states, to check lengths against; `None` for no check.

    Raises:
      DataError: the file declares another unit of length.
    """
    with ExitStack() as stack:
        read: Callable[[int], Atoms]
        places: Sequence[int]
        if kind == "traj":
            # Opened here, because ASE leaves the file open if its header is damaged.
            trajectory = Trajectory(stack.enter_context(open(name, "rb")))
            read, places = trajectory.__getitem__, range(len(trajectory))
            metadata = (trajectory.description if len(places) else None) or {}
        else:
            database = stack.enter_context(ase.db.connect(name, type=kind, serial=True))
            # With what users store beside the results of calculators.
            read = partial(database.get_atoms, add_additional_information=True)
            places = [row.id for row in database.select(columns=["id"])]
            metadata = database.metadata
        if units is not None:
            check_declared(str(path), metadata, units, ["positions"])
        return metadata, _independent(path, read, places, stack.pop_all())


def _independent(
    path: str | os.PathLike[str],
    read: Callable[[int], Atoms],
    places: Sequence[int],
    opened: ExitStack,
) -> Snapshots:
    with opened:
        for index, place in enumerate(places, start=1):
            location = f"{path}: snapshot {index}"
            outcome: Atoms | DataError
            try:
                outcome = read(place)
            except Exception as error:  # ASE raises whatever its readers meet.
                outcome = DataError(
                    f"{location}: must be intact, got one that cannot be read "
                    f"({type(error).__name__}: {error})"
                )
            yield location, outcome
