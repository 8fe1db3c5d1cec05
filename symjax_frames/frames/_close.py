"""Closure of a frame under a finite group of the canonical coordinates."""

from collections.abc import Callable
from typing import Any, overload

import jax.numpy as jnp

from symjax_frames._matrices import multiply
from symjax_frames._types import Affine, Frame
from symjax_frames.groups import Group


@overload
def close(frame: Frame, group: Group) -> Frame: ...
@overload
def close(frame: Callable[..., Frame], group: Group) -> Callable[..., Frame]: ...
def close(frame: Frame | Callable[..., Frame], group: Group) -> Frame | Callable[..., Frame]:
    r"""The frame `F(x) H = {g h : g in F(x), h in H}` for a fixed finite group `H`.

    Since `F(k x) H = k F(x) H`, the closure of a frame is a frame again. The sign flips of a PCA frame
    are the closure of one set of axes; closing further is augmentation that keeps equivariance exact.
    An element that arises in several ways stays in as often, so close by a group that adds something:
    `close(pca_frame, permutations(3))` has 8 times 6 elements, all signed permutations of the axes.

    Example:
      >>> import jax.numpy as jnp, symjax_frames as sf
      >>> cloud = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
      >>> sf.close(sf.pca_frame, sf.permutations(3))(cloud).weights.shape
      (48,)

    Args:
      frame: a frame of `Affine` elements, or a function that returns one.
      group: a finite group about the origin, of the same dimension.

    Returns:
      A frame with `frame * order` elements, or a function that returns one, as `frame` was.

    Raises:
      ValueError: if the group is infinite or of another dimension.
    """
    if not isinstance(group, Group) or group.elements is None:
        raise ValueError(f"group must be a finite Group such as permutations(3), got {group!r}")
    if not isinstance(frame, Frame):

        def closed(*args: Any, **kwargs: Any) -> Frame:
            return close(frame(*args, **kwargs), group)

        return closed

    linear, shift = frame.elements.linear, frame.elements.shift
    count, *graphs, dim = shift.shape
    order = len(group.elements.linear)
    if group.dim != dim:
        raise ValueError(f"group {group} acts in {group.dim} dimensions, the frame has {dim}")
    steps = group.cast(linear.dtype).linear.reshape(1, order, *[1] * len(graphs), dim, dim)
    product = multiply(linear[:, None], steps)
    return Frame(
        Affine(product.reshape(count * order, *graphs, dim, dim), jnp.repeat(shift, order, axis=0)),
        jnp.repeat(frame.weights / order, order, axis=0),
    )
