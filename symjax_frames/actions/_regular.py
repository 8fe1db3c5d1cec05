"""The regular representation of a finite group: features that are functions on the group."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from symjax_frames._matrices import at_least_float32
from symjax_frames._sharding import take
from symjax_frames._types import Action
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, quotient_table


@functools.cache
def regular(group: Group) -> Action:
    r"""Action of a finite group on functions on it, data of shape `(..., order, features)`.

    Formula: $(\rho(g) f)(h) = f(g^{-1} h)$. Feature maps of a group convolution, of shape
    `(..., height, width, order, features)`, move by `fields(regular(group), channel_axes=2)`.

    Example:
      >>> import jax.numpy as jnp, symjax_frames as sf
      >>> turn = sf.Isometry(*(leaf[1] for leaf in sf.cyclic(4).cast(jnp.float32)))
      >>> sf.regular(sf.cyclic(4)).push(turn, jnp.arange(4)[:, None])[:, 0].tolist()
      [3, 0, 1, 2]

    Args:
      group: a finite group.

    Returns:
      The action, the same object for the same group. It takes the element of the group whose matrix
      is nearest to the one given.

    Raises:
      ValueError: if the group is infinite; when used, if the elements are of another dimension or
        the data have no axis of `order` elements.
    """
    table = quotient_table(group)
    # Column 0 holds the index of g^-1, since element 0 is the identity: row g becomes row g^-1.
    inverses = table[table[:, 0]]

    def moved(g: Isometry, x: Shaped[Array, "..."], rows: np.ndarray) -> Shaped[Array, "..."]:
        if g.linear.shape != (group.dim, group.dim):
            raise ValueError(
                f"regular({group.name}) is moved by one element of {group.dim} dimensions at a time, "
                f"got a matrix of shape {g.linear.shape}"
            )
        if x.ndim < 2 or x.shape[-2] != group.order:
            raise ValueError(
                f"data of regular({group.name}) end in axes ({group.order}, features), one row per "
                f"element of the group; got shape {x.shape}"
            )
        return take(x, take(jnp.asarray(rows), _index(g, group)), axis=-2)

    def push(g: Isometry, x: Any) -> Array:
        """Permutes the last axis but one, `(g.f)(h) = f(g^-1 h)`."""
        return moved(g, jnp.asarray(x), table)

    def pull(g: Isometry, x: Any) -> Array:
        return moved(g, jnp.asarray(x), inverses)

    return Action(push, pull, name=f"regular({group.name})")


def _index(g: Isometry, group: Group) -> Int[Array, ""]:
    linear = at_least_float32(g.linear)
    elements = group.cast(linear.dtype).linear
    difference = elements - jnp.broadcast_to(linear, elements.shape)
    return jnp.argmin(jnp.sum(difference**2, axis=(-1, -2)))
