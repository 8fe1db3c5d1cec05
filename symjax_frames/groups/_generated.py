"""Finite groups from a few of their elements."""

from collections.abc import Sequence

import numpy as np

from symjax_frames._checks import check_positive
from symjax_frames.groups._group import Group, make_finite

_SAME = 1e-9
"""The largest difference of the entries of two matrices that are the same element."""

_NEAR = 1e-5
"""A smaller difference is an inaccurate entry: elements of a group of thousands are further apart."""


def from_generators(
    name: str, generators: Sequence[np.ndarray] | np.ndarray, *, max_order: int = 1000
) -> Group:
    """A finite group of one's own, all products of a few orthogonal matrices.

    Example:
      >>> import numpy as np, symjax_frames as sf
      >>> quarter_turn, mirror = np.array([[0, -1], [1, 0]]), np.diag([1, -1])
      >>> sf.groups.from_generators("square", [quarter_turn, mirror]).order
      8

    Args:
      name: what messages call the group.
      generators: orthogonal matrices of one shape `(dim, dim)`, exact to 1e-9: `np.sqrt(3) / 2`
        and not 0.866.
      max_order: where to stop.

    Returns:
      The group, the identity first, then the elements in the order in which products make them.

    Raises:
      ValueError: if the generators are not orthogonal matrices of one size, have an entry that is
        not exact, as a product shows that is nearly another element, or make more than `max_order`
        elements, as those of an infinite group do.
    """
    max_order = check_positive("max_order", max_order)
    matrices = [np.asarray(generator, dtype=np.float64) for generator in generators]
    shapes = {matrix.shape for matrix in matrices}
    shape: tuple[int, ...] = next(iter(shapes), ())
    if len(shapes) != 1 or len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(
            "generators must be one or more matrices of one shape (dim, dim), got shapes "
            f"{[matrix.shape for matrix in matrices]}"
        )
    for index, matrix in enumerate(matrices):
        error = np.abs(matrix @ matrix.T - np.eye(len(matrix))).max()
        if not error <= _SAME:
            raise ValueError(
                f"generators must be orthogonal to {_SAME:.0e}, got generators[{index}], which differs "
                f"by {error:.1e}"
            )
    return make_finite(name, generate(name, matrices, max_order))


def generate(name: str, generators: Sequence[np.ndarray], max_order: int) -> np.ndarray:
    """All products of orthogonal matrices, the identity first, of shape `(order, dim, dim)`.

    Raises:
      ValueError: as `from_generators`.
    """
    dim = len(generators[0])
    elements = np.eye(dim)[None]
    index = 0
    # Every product of generators is one of the elements before it times a generator.
    while index < len(elements):
        for generator in generators:
            product = exact(elements[index] @ generator)
            distance = np.abs(elements - product).max(axis=(1, 2)).min()
            if distance <= _SAME:
                continue
            if distance <= _NEAR:
                raise ValueError(
                    f"generators of {name} have a product that differs from another by "
                    f"{distance:.1e}: their entries are not exact, or they generate no finite group"
                )
            if len(elements) == max_order:
                raise ValueError(
                    f"generators of {name} make more than max_order={max_order} elements: raise it, "
                    "unless the group is infinite, as that of a turn by no fraction of 360 degrees"
                )
            elements = np.concatenate([elements, product[None]])
        index += 1
    return elements


def exact(matrices: np.ndarray) -> np.ndarray:
    """Matrices whose entries are multiples of a half to the bit where they are nearly so.

    For sin(pi) is 1.2e-16 and not 0, and a quarter turn should be a permutation of the axes.
    """
    halves = np.round(2 * matrices) / 2
    return np.where(np.abs(matrices - halves) < 1e-12, halves, matrices)
