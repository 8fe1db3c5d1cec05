"""The splits of the charged n-body benchmark: simulated once and cached, or read from a file."""

import os
from functools import partial

import numpy as np

from experiments.data.cache import Arrays, cached
from experiments.data.checks import check_counts, check_names, finite_single
from experiments.data.mapped import mapped_npz, npz_headers
from experiments.data.npz import UNREAD, DataError, read_npz
from experiments.errors import UsageError
from experiments.tasks.nbody.charged import (
    SNAPSHOTS,
    TRAJECTORIES,
    Initial,
    sample_initial,
    simulate,
)

_FORMAT = 1  # To be raised when the meaning or the values of the cached arrays change.
_FIELDS = ("position", "velocity", "charge", "target")


def load_nbody(
    *,
    cache: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    num_train: int = 3000,
    num_valid: int = 2000,
    num_test: int = 2000,
    snapshot_in: int = 30,
    snapshot_out: int = 40,
    seed: int = 43,
    bodies: int = 5,
    streamed: bool = False,
) -> dict[str, Arrays]:
    """The examples of the benchmark: bodies in one snapshot, their positions in a later one.

    The defaults are the published protocol. Fewer examples of a split are the first of those.

    Args:
      cache: the folder that keeps what has been simulated.
      path: a `.npz` file to read instead, which has `position`, `velocity`, `charge` and `target`
        of each split, as in `position_train`, in the shapes below, for any number of bodies; the
        first examples of each split are taken, and the arguments after `num_test` mean nothing.
      num_train: examples to train on.
      num_valid: examples to select by.
      num_test: examples to report on.
      snapshot_in: saved snapshot of the inputs.
      snapshot_out: saved snapshot of the target.
      seed: of the initial conditions.
      bodies: particles of an example.
      streamed: whether training examples of the file at `path` stay in files, mapped into memory.

    Returns:
      `"train"`, `"valid"` and `"test"` to float32 arrays: `position` `(examples, bodies, 3)`,
      `velocity` `(examples, bodies, 3)`, `charge` `(examples, bodies)`, and `target`
      `(examples, bodies, 3)`.

    Raises:
      UsageError: a number is out of range.
      DataError: a defect of the file at `path`, or a cache folder that cannot be written.
    """
    counts = {"train": num_train, "valid": num_valid, "test": num_test}
    check_counts(counts)
    if path is not None:
        return _read(path, counts, cache if streamed else None)
    if not 0 <= snapshot_in < snapshot_out < SNAPSHOTS:
        raise UsageError(
            f"snapshot_in and snapshot_out must be increasing, in 0 to {SNAPSHOTS - 1}, got "
            f"{snapshot_in} and {snapshot_out}"
        )

    def generate() -> Arrays:
        drawn = sample_initial(num_train, num_valid, num_test, seed=seed, bodies=bodies)
        return _simulated(drawn, snapshot_in, snapshot_out)

    # The key of the cached file: its words are those of the files that users have.
    parameters = {
        "format": _FORMAT,
        "counts": counts,
        "frames": [snapshot_in, snapshot_out],
        "seed": seed,
        "bodies": bodies,
    }
    arrays = cached(cache, "nbody", parameters, generate)
    return {
        split: {field: arrays[f"{field}_{split}"] for field in _FIELDS} for split in TRAJECTORIES
    }


def _simulated(drawn: dict[str, Initial], snapshot_in: int, snapshot_out: int) -> Arrays:
    together = Initial(*(np.concatenate(parts) for parts in zip(*drawn.values(), strict=True)))
    positions, velocities = simulate(*together, snapshots=(snapshot_in, snapshot_out))
    fields = (positions[:, 0], velocities[:, 0], together.charges, positions[:, 1])
    ends = np.cumsum([len(initial.charges) for initial in drawn.values()])
    return {
        f"{field}_{split}": part.astype(np.float32)
        for field, values in zip(_FIELDS, fields, strict=True)
        for split, part in zip(drawn, np.split(values, ends[:-1]), strict=True)
    }


def _read(
    path: str | os.PathLike[str], counts: dict[str, int], mapped: str | os.PathLike[str] | None
) -> dict[str, Arrays]:
    """The splits of a file; if `mapped` is a folder, those to train on from files in it."""
    names = [f"{field}_{split}" for split in counts for field in _FIELDS]
    if mapped is None:
        arrays = read_npz(path)
    else:
        headers = npz_headers(path, names).items()
        arrays = {name: UNREAD if told is None else told.stand_in() for name, told in headers}
    check_names(path, arrays, names)
    for name in names:
        _check_type(path, name, arrays[name])
    splits: dict[str, Arrays] = {}
    for split, count in counts.items():
        for field in _FIELDS:
            _check_shape(path, f"{field}_{split}", arrays)
        examples = len(arrays[f"position_{split}"])
        if examples < count:
            raise DataError(
                f"{path}: the arrays of {split} must have at least num_{split} = {count} examples, got "
                f"{examples}"
            )
    if mapped is not None:
        arrays = mapped_npz(path, mapped, names, partial(finite_single, path))
    for split, count in counts.items():
        for field in _FIELDS:
            part = arrays[f"{field}_{split}"][:count]
            if mapped is None:
                part = finite_single(path, f"{field}_{split}", part)
            elif split != "train":
                part = np.array(part)
            splits.setdefault(split, {})[field] = part
    return splits


def _check_type(path: str | os.PathLike[str], name: str, array: np.ndarray) -> None:
    whole = name.startswith("charge") and np.issubdtype(array.dtype, np.integer)
    if not (whole or np.issubdtype(array.dtype, np.floating)):
        allowed = "floating-point" + (" or integer" if name.startswith("charge") else "")
        raise DataError(f"{path}: array {name} must be {allowed}, got {array.dtype}")


def _check_shape(path: str | os.PathLike[str], name: str, arrays: Arrays) -> None:
    field, split = name.split("_")
    received = arrays[name].shape
    # Position arrays come first, so the shapes that others must match are right already.
    if field == "position" and (len(received) != 3 or received[1] < 1 or received[2] != 3):
        raise DataError(
            f"{path}: array {name} must have shape (examples, bodies, 3), got {received}"
        )
    examples = len(arrays[f"position_{split}"])
    bodies = arrays["position_train"].shape[1]
    allowed = (examples, bodies) if field == "charge" else (examples, bodies, 3)
    if received != allowed:
        raise DataError(
            f"{path}: array {name} must have shape {allowed}, with the examples of position_{split} "
            f"and the bodies of position_train, got {received}"
        )
