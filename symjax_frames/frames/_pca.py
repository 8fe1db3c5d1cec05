"""Principal-axes frames of point clouds, one cloud at a time or packed."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax_frames import groups
from symjax_frames._checks import check_cloud, check_positive, describe
from symjax_frames._matrices import determinant
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.frames._close import close
from symjax_frames.linalg import eigh, power_of_two

GroupName = Literal["T", "O", "SO", "E", "SE"]


class _Moments(NamedTuple):
    """Centroids and covariances of clouds; the latter are of `arms`, the centred cloud over `scale`."""

    centroid: Float[Array, "*graphs dim"]
    covariance: Float[Array, "*graphs dim dim"]
    arms: Float[Array, "points dim"]
    scale: Float[Array, "*graphs"]


def pca_frame(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: GroupName = "E",
    detach: bool = False,
) -> Frame:
    r"""Principal-axes frame of a point cloud.

    With centroid $t$, centred cloud $R = X - t$ and $R^T R = V \Lambda V^T$, the elements are

    * `"E"`: $(V \mathrm{diag}(s), t)$ for all $2^{dim}$ sign vectors $s$; `"SE"`: the half of them
      with determinant one,
    * `"O"`, `"SO"`: the same about the origin, with $t = 0$,
    * `"T"`: the one translation $t$, which subtracts the mean.

    All weights are equal. The frame is differentiable to any order; forces conserve energy only with
    the derivative through the frame.

    Example:
      >>> import jax, symjax_frames as sf
      >>> frame = sf.pca_frame(jax.random.normal(jax.random.key(0), (5, 3)))
      >>> frame.elements.linear.shape, frame.elements.shift.shape, frame.weights.shape
      ((8, 3, 3), (8, 3), (8,))

    Args:
      points: the cloud, one point a row, in any unit of length.
      mask: `True` for real points; the others are padding and change nothing. All real by default.
      group: the group the frame is for.
      detach: treat the frame as constant under differentiation.

    Returns:
      The frame; its elements carry `(frame, ...)` axes.

    Raises:
      ValueError: if `points` is no floating `(points, dim)` array with at least one point, has more
        axes than points beyond three dimensions, `mask` does not fit, or `group` is not one of the
        five.

    Note:
      Valid where the covariance has a simple spectrum: `spectral_gap` measures how far a cloud is
      from a repeated eigenvalue. On one, no choice of axes is equivariant, the frame jumps, and its
      derivative is finite but says little.

    References:
      Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022,
      arXiv:2110.03336.
    """
    check_cloud(points, mask)
    _check_group(group, points)
    return _frame(_moments(points, mask, group, _WHOLE), group, detach)


def packed_pca_frame(
    points: Float[Array, "nodes dim"],
    segment_ids: Int[Array, " nodes"],
    num_segments: int,
    mask: Bool[Array, " nodes"] | None = None,
    *,
    group: GroupName = "E",
    detach: bool = False,
) -> Frame:
    """The `pca_frame` of each graph of a packed batch.

    The clouds of all graphs are concatenated; `packed(points, segment_ids)` moves every node by the
    element of its graph. Padding nodes may sit in a last segment of their own, or be masked.

    Args:
      points: the nodes of all graphs, one a row.
      segment_ids: the graph of each node, from 0 to `num_segments - 1`; a node beyond belongs to
        none.
      num_segments: the number of graphs, static; graphs without nodes get a harmless frame.
      mask: `True` for real nodes.
      group: as in `pca_frame`.
      detach: as in `pca_frame`.

    Returns:
      A frame whose elements carry `(frame, graphs, ...)` axes and whose weights are
      `(frame, graphs)`.

    Raises:
      ValueError: as `pca_frame`, and if `segment_ids` is no vector of integers, one a node, or
        `num_segments` is not positive.
    """
    check_cloud(points, mask)
    _check_group(group, points)
    check_positive("num_segments", num_segments)
    shape = getattr(segment_ids, "shape", None)
    if shape != points.shape[:1] or not jnp.issubdtype(segment_ids.dtype, jnp.integer):
        raise ValueError(
            f"segment_ids must be integers of shape {points.shape[:1]}, one for each node, got "
            f"{describe(segment_ids)}"
        )
    by = _by_segment(segment_ids, num_segments)
    return _frame(_moments(points, mask, group, by), group, detach)


def spectral_gap(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: GroupName = "E",
) -> Float[Array, ""]:
    r"""How far the principal axes of a cloud are from being ambiguous.

    Formula: $\min_k (\lambda_{k+1} - \lambda_k) / \lambda_{max}$ of the covariance that `pca_frame`
    diagonalises, between 0 (a repeated eigenvalue: the frame is not valid) and 1. In one dimension
    it is 1; a cloud whose points all coincide has gap 0. A repeated eigenvalue of zero, as of a line
    in space, does no harm to the points themselves, but to vectors that leave their span.

    Args:
      points: as in `pca_frame`.
      mask: as in `pca_frame`.
      group: as in `pca_frame`; for `"T"` nothing is diagonalised and the gap is 1.

    Returns:
      The relative gap, a scalar.

    Raises:
      ValueError: as `pca_frame`.
    """
    check_cloud(points, mask)
    _check_group(group, points)
    if group == "T" or points.shape[1] == 1:
        return jnp.ones((), points.dtype)
    values, _ = eigh(_moments(points, mask, group, _WHOLE).covariance)
    largest = values[-1]
    gap = jnp.min(values[1:] - values[:-1])
    return jnp.where(largest > 0, gap / jnp.where(largest > 0, largest, 1), 0)


def _check_group(group: str, points: Array) -> None:
    if group not in get_args(GroupName):
        raise ValueError(f"group must be one of {', '.join(get_args(GroupName))}, got {group!r}")
    count, dim = points.shape
    if group != "T" and dim > max(count, 3):
        raise ValueError(
            f"points of shape {points.shape} are {count} points in {dim} dimensions, too few to have "
            "principal axes; one point a row is expected, is the array transposed?"
        )


class _Reduction(NamedTuple):
    """How rows are summed over their cloud, and what belongs to a cloud is handed to its rows."""

    total: Callable[[Array], Array]
    largest: Callable[[Array], Array]
    spread: Callable[[Array], Array]


_WHOLE = _Reduction(
    total=lambda rows: jnp.sum(rows, axis=0),
    largest=lambda rows: jnp.max(rows, axis=0),
    spread=lambda value: value[None],
)


def _by_segment(segment_ids: Int[Array, " nodes"], num_segments: int) -> _Reduction:
    return _Reduction(
        total=lambda rows: jax.ops.segment_sum(rows, segment_ids, num_segments),
        # The maximum of no rows is -inf, and of lengths at least zero otherwise.
        largest=lambda rows: jnp.maximum(jax.ops.segment_max(rows, segment_ids, num_segments), 0),
        spread=lambda value: value[segment_ids],
    )


def _moments(points: Array, mask: Array | None, group: GroupName, by: _Reduction) -> _Moments:
    real = jnp.ones(points.shape[:1], bool) if mask is None else mask
    row = real[:, None]
    count = jnp.maximum(by.total(real.astype(points.dtype)), 1)
    kept = jnp.where(row, points, 0)
    centroid = by.total(kept / by.spread(count)[:, None])
    if group in ("O", "SO"):
        centroid = jnp.zeros_like(centroid)
    arms = jnp.where(row, points - by.spread(centroid), 0)
    # The axes do not depend on the size of the cloud; its square could overflow.
    scale = power_of_two(by.largest(jnp.max(jnp.abs(arms), axis=1)))
    arms = arms / by.spread(scale)[:, None]
    covariance = by.total(arms[:, :, None] * arms[:, None, :])
    return _Moments(centroid, covariance, arms, scale)


def _frame(moments: _Moments, group: GroupName, detach: bool) -> Frame:
    base = _axes(moments, group, detach)
    if group == "T":
        return base
    return close(base, groups.signs(moments.centroid.shape[-1], proper=group in ("SO", "SE")))


def _axes(moments: _Moments, group: GroupName, detach: bool) -> Frame:
    """One element, of which the signs of the axes are arbitrary; a rotation for SO and SE."""
    centroid, covariance = moments.centroid, moments.covariance
    *graphs, dim = centroid.shape
    if group == "T":
        axes = jnp.broadcast_to(jnp.eye(dim, dtype=centroid.dtype), covariance.shape)
    else:
        _, axes = eigh(covariance)
    if group in ("SO", "SE"):
        # One axis turns round so that all signs of product one make rotations: the number of
        # elements stays static. The sign is constant where the frame is differentiable.
        handedness = jnp.where(determinant(jax.lax.stop_gradient(axes)) < 0, -1, 1)
        axes = axes.at[..., 0].multiply(handedness.astype(axes.dtype)[..., None])
    base = Frame(Isometry(axes[None], centroid[None]), jnp.ones((1, *graphs), centroid.dtype))
    return jax.lax.stop_gradient(base) if detach else base
