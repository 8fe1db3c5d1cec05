"""Stresses and virials of files: the order of their components, and what is said of unread ones."""

import os
import re
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float, Float64

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.voigt_order import VOIGT_ORDER, places_of

_USUAL = re.compile(r"([a-z0-9]+_)*(stress(es)?|virials?)(_tensor)?")
"""What files call stresses and virials, in lower case: REF_stress, dft_virial ..."""


def checked_order(order: str) -> list[tuple[int, int]]:
    """The same.

    Raises:
      UsageError: they are not the six.
    """
    places = places_of(order)
    if places is None:
        raise UsageError(
            f"voigt_order must be the six components, such as {VOIGT_ORDER!r}, got {order!r}"
        )
    return places


def as_matrices(
    where: str, values: Float[np.ndarray, "*shape"], places: Iterable[tuple[int, int]]
) -> Float64[np.ndarray, "snapshots 3 3"]:
    """Six components, nine, or matrices, as matrices.

    Args:
      where: the file and the array, for errors.
      values: one row a snapshot.
      places: of six components in the matrix.

    Raises:
      DataError: the rows have another shape.
    """
    count = len(values)
    if values.shape == (count, 6):
        matrices = np.zeros((count, 3, 3))
        for component, (row, column) in enumerate(places):
            matrices[:, row, column] = matrices[:, column, row] = values[:, component]
        return matrices
    if values.shape not in ((count, 9), (count, 3, 3)):
        raise DataError(
            f"{where} must have 6 components, 9, or a matrix of shape (3, 3) a snapshot, got shape "
            f"{values.shape[1:]}"
        )
    return values.reshape(count, 3, 3).astype(np.float64)


def warn_of_unread(
    path: str | os.PathLike[str],
    names: Iterable[str],
    keys: Mapping[str, str | None],
    periodic: bool,
) -> None:
    """Warns of stresses and virials of periodic structures if forces are read and these are not.

    Args:
      path: the file.
      names: what it has.
      keys: what is read, as `read_molecules` names it; `None` for nothing.
      periodic: whether any structure is.
    """
    if not periodic or keys.get("forces") is None:
        return
    if keys.get("stresses") is not None or keys.get("virials") is not None:
        return
    unread = sorted(name for name in names if _USUAL.fullmatch(str(name).lower()))
    if unread:
        virial = "virial" in unread[0].lower()
        warnings.warn(
            f"{path}: has {' and '.join(unread)} which no key reads, so that no stress is learnt "
            f"(to learn it: {'virial' if virial else 'stress'}_key={unread[0]}, with its unit)",
            stacklevel=6,
        )
