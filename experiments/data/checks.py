"""Checks of a user's arrays and numbers: a defect is one error that says what they must be."""

import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from experiments.data.npz import DataError
from experiments.errors import UsageError


def check_counts(counts: Mapping[str, int]) -> None:
    """Refuses a split of less than one example.

    Args:
      counts: how many examples each split has, by its name.

    Raises:
      UsageError: a count is not positive.
    """
    for split, count in counts.items():
        if count < 1:
            raise UsageError(f"num_{split} must be at least 1, got {count}")


def check_names(
    path: str | os.PathLike[str], received: Collection[str], names: Sequence[str]
) -> None:
    """Refuses a file that lacks arrays.

    Args:
      path: the file.
      received: the names of its arrays.
      names: the names that it must have.

    Raises:
      DataError: a name is missing.
    """
    missing = [name for name in names if name not in received]
    if missing:
        raise DataError(
            f"{path}: must have the arrays {', '.join(names)}, got {', '.join(received) or 'none'}; "
            f"missing: {', '.join(missing)}"
        )


def finite_single(path: str | os.PathLike[str], name: str, array: np.ndarray) -> np.ndarray:
    """The array in float32, in which every value must be finite.

    Args:
      path: the file it comes from.
      name: its name there.
      array: numbers.

    Returns:
      The same numbers in float32.

    Raises:
      DataError: a value is not finite in float32.
    """
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    refuse_where(path, name, array, ~np.isfinite(single), "no finite float32", "finite numbers")
    return single


def refuse_where(
    path: str | os.PathLike[str],
    name: str,
    array: np.ndarray,
    wrong: np.ndarray,
    defect: str,
    wanted: str,
) -> None:
    """Refuses an array with values that are marked as wrong.

    Args:
      path: the file it comes from.
      name: its name there.
      array: the values.
      wrong: where they are wrong, booleans in the same shape.
      defect: what a wrong value is, as in "values that are no finite float32".
      wanted: what values must be.

    Raises:
      DataError: a value is marked.
    """
    indices = np.argwhere(wrong)
    if len(indices):
        first = tuple(indices[0].tolist())
        raise DataError(
            f"{path}: array {name} must hold {wanted}, got {len(indices)} values that are {defect}, "
            f"the first {array[first]} at {first}"
        )
