"""Closure of a frame under a finite group of the canonical coordinates."""

from collections.abc import Callable
from typing import Any, overload

import jax.numpy as jnp
import numpy as np

from symjax_frames._checks import check_callable
from symjax_frames._matrices import multiply
from symjax_frames._types import Frame
from symjax_frames._unrolled import copies
from symjax_frames._wrapping import named_after
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, right_cosets


@overload
def close(frame: Frame, group: Group, *, already: Group | None = None) -> Frame: ...
@overload
def close(
    frame: Callable[..., Frame], group: Group, *, already: Group | None = None
) -> Callable[..., Frame]: ...
def close(
    frame: Frame | Callable[..., Frame], group: Group, *, already: Group | None = None
) -> Frame | Callable[..., Frame]:
    r"""The frame `F(x) H = {g h : g in F(x), h in H}` for a fixed finite group `H`.

    Since `F(k x) H = k F(x) H`, the closure of a frame is a frame again. A PCA frame is the closure
    of one set of axes under the signs; closing it further is augmentation that keeps equivariance
    exact. An element that arises in several ways is kept as many times. If the frame is closed
    under a subgroup already, as a PCA frame is under the signs, name that subgroup, and every
    element is made once. Close a frame for SE by groups of rotations: reflections would make it one
    for E.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> cloud = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
      >>> frame = sf.close(sf.pca_frame, sf.signed_permutations(3), already=sf.signs(3))
      >>> jax.jit(frame)(cloud).weights.shape
      (48,)

    Args:
      frame: a frame of `Isometry` elements, or a function that returns one.
      group: a finite group about the origin, of the same dimension.
      already: a subgroup of `group` that `frame` is closed under; the trivial one by default. Not
        verified of the frame.

    Returns:
      A frame of `group.order / already.order` times as many elements, or a function that returns
      one, as `frame` was.

    Raises:
      ValueError: if a group is infinite, of another dimension, or `already` no subgroup of `group`.
    """
    matrices = _representatives(group, already)
    if not isinstance(frame, Frame):
        check_callable("frame", frame)

        def closed(*args: Any, **kwargs: Any) -> Frame:
            return close(frame(*args, **kwargs), group, already=already)

        return named_after(frame, closed)

    linear, shift = frame.elements.linear, frame.elements.shift
    count, *graphs, dim = shift.shape
    order = len(matrices)
    if group.dim != dim:
        raise ValueError(f"group {group} acts in {group.dim} dimensions, the frame has {dim}")
    linear, shift = copies(linear, order, 1), copies(shift, order, 1)
    steps = jnp.asarray(matrices, linear.dtype).reshape(1, order, *[1] * len(graphs), dim, dim)
    if (matrices * np.eye(dim) == matrices).all():
        linear = linear * jnp.diagonal(steps, axis1=-2, axis2=-1)[..., None, :]
    else:
        linear = multiply(linear, steps)
    elements = Isometry(*(x.reshape(count * order, *x.shape[2:]) for x in (linear, shift)))
    # A rule of quadrature stays one.
    return frame._replace(
        elements=elements, weights=jnp.repeat(frame.weights / order, order, axis=0)
    )


def _representatives(group: Group, already: Group | None) -> np.ndarray:
    """One matrix `r` of `group` from each coset `already r`, the identity first."""
    if not isinstance(group, Group) or group.elements is None:
        raise ValueError(f"group must be a finite Group such as signs(3), got {group!r}")
    matrices = np.asarray(group.elements.linear)
    if already is None:
        return matrices
    return matrices[[coset[0] for coset in right_cosets(group, already, "already")]]
