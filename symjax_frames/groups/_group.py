"""Groups of isometries: elements to sum over, or a way to draw them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from symjax_frames._checks import repr_or_call_hint
from symjax_frames._sharding import on_own_mesh
from symjax_frames.elements import Isometry


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """A group of isometries of `dim`-dimensional space.

    Attributes:
      name: the usual name, for messages.
      dim: the dimension of the space it acts on.
      elements: for a finite group all elements, stacked, the identity first, as float64 NumPy
        arrays; `None` for an infinite one.
      draw: `(key, dtype) -> element`, uniform (Haar) if the group is compact. T, E and SE are not
        compact: their translations are drawn from a standard normal distribution, which is good
        for tests of equivariance but not for averages.
      compact: whether there is a uniform (Haar) measure to average over.
    """

    name: str
    dim: int
    elements: Isometry | None
    draw: Callable[[Key[Array, ""], Any], Isometry]
    compact: bool

    @property
    def order(self) -> int | None:
        """The number of elements, `None` if infinite."""
        return None if self.elements is None else len(self.elements.linear)

    def cast(self, dtype: Any) -> Isometry:
        """All elements of a finite group as arrays of `dtype`.

        Raises:
          ValueError: if the group is infinite.
        """
        if self.elements is None:
            raise ValueError(
                f"group {self.name} is infinite and has no list of elements; a finite group is "
                "needed here, or sampled_average for a compact one"
            )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self.elements)

    def __repr__(self) -> str:
        return f"Group({self.name})"


def make_finite(name: str, matrices: np.ndarray) -> Group:
    """The group of the given matrices, not verified: tests check the groups of the library."""
    order, dim, _ = matrices.shape
    matrices = matrices.copy()
    # Groups are cached and shared: nobody may change them.
    matrices.setflags(write=False)
    elements = Isometry(matrices, np.zeros((order, dim)))  # type: ignore[arg-type]

    @on_own_mesh
    def draw(key: Key[Array, ""], dtype: Any) -> Isometry:
        index = jax.random.randint(key, (), 0, order)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype)[index], elements)

    return Group(name, dim, elements, draw, compact=True)


def finite_group(name: str, matrices: np.ndarray) -> Group:
    """A finite group of one's own, from its orthogonal matrices of shape `(order, dim, dim)`.

    `from_generators` makes one from a few of them.

    Raises:
      ValueError: if the matrices do not start with the identity, or are not orthogonal, distinct
        and closed under products.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[0] == 0 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(f"matrices must have shape (order, dim, dim), got {matrices.shape}")
    if not np.allclose(matrices[0], np.eye(matrices.shape[1]), atol=1e-9):
        raise ValueError(f"matrices of {name} must start with the identity, got {matrices[0]}")
    for index, element in enumerate(matrices):
        # The inverse is taken to be the transpose, so closure under A^T B also says orthogonal.
        distance = np.abs((element.T @ matrices)[:, None] - matrices[None]).max((-1, -2))
        if not ((distance < 1e-9).sum(1) == 1).all():
            raise ValueError(
                f"matrices of {name} must be orthogonal, distinct and closed under products; the "
                f"products with the inverse of matrix {index} are not"
            )
    return make_finite(name, matrices)


def check_group(name: str, group: Any) -> None:
    """Raises unless `group` is a `Group`."""
    if not isinstance(group, Group):
        raise ValueError(
            f"{name} must be a Group such as dihedral(4) or euclidean(3), got "
            f"{repr_or_call_hint(group, 'a group')}"
        )
