"""A group that moves every graph of a packed batch by an element of its own."""

from typing import Any

import jax
from jaxtyping import Array, Key

from symjax_frames._checks import check_positive
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, check_group


def packed_group(group: Group, num_segments: int) -> Group:
    r"""The group whose elements are one element of `group` for each graph of a packed batch.

    A function of packed data is to be equivariant to the product $G \times \ldots \times G$: moving
    one graph must not change what is said of another. A motion that all graphs share would not
    tell.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.testing import assert_equivariant, packed_group
      >>> segment_ids = jnp.array([0, 0, 0, 1, 1])
      >>> def centroids(nodes):
      ...     counts = jnp.array([[3.0], [2.0]])
      ...     return jax.ops.segment_sum(nodes, segment_ids, 2) / counts
      >>> assert_equivariant(
      ...     centroids,
      ...     jax.random.normal(jax.random.key(0), (5, 3)),
      ...     group=packed_group(sf.euclidean(3), 2),
      ...     in_actions=sf.packed(sf.points, segment_ids),
      ...     out_actions=sf.packed(sf.points, jnp.arange(2)),
      ...     key=jax.random.key(1),
      ... )

    Args:
      group: where the element of each graph is drawn from.
      num_segments: the number of graphs.

    Returns:
      A group for `assert_equivariant` and `equivariance_error`, with actions made by `packed`. Its
      elements have a leading `graphs` axis.

    Raises:
      ValueError: if `group` is no `Group` or `num_segments` not positive.
    """
    check_group("group", group)
    check_positive("num_segments", num_segments)

    def draw(key: Key[Array, ""], dtype: Any) -> Isometry:
        keys = jax.random.split(key, num_segments)
        return jax.vmap(lambda one: group.draw(one, dtype))(keys)

    name = f"{group.name} for each of {num_segments} graphs"
    return Group(name, group.dim, None, draw, group.compact)
