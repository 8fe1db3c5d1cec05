"""Principal-axes frames of point clouds, one cloud at a time or packed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax_frames import groups
from symjax_frames._checks import check_cloud
from symjax_frames._matrices import at_least_float32, determinant
from symjax_frames._padding import warn_of_strays
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.frames._checks import GroupName, check_group_name, check_packed
from symjax_frames.frames._close import close
from symjax_frames.frames._moments import Moments, by_segment, moments_of
from symjax_frames.linalg import eigh


@on_own_mesh
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

    All weights are equal. The frame is differentiable to any order; forces conserve energy only
    with the derivative through the frame.

    Example:
      >>> import jax, symjax_frames as sf
      >>> frame = jax.jit(sf.pca_frame)(jax.random.normal(jax.random.key(0), (5, 3)))
      >>> frame.elements.linear.shape, frame.elements.shift.shape, frame.weights.shape
      ((8, 3, 3), (8, 3), (8,))

    Args:
      points: the cloud, one point per row, in any unit of length.
      mask: `True` for real points; the others are padding and change nothing. All real by default.
      group: the group the frame is for.
      detach: treat the frame as constant under differentiation.

    Returns:
      The frame, of at least 32 bits; its elements carry `(frame, ...)` axes.

    Raises:
      ValueError: if `points` is no floating `(points, dim)` array with at least one point, has more
        axes than points beyond three dimensions, `mask` does not fit, or `group` is not one of the
        five.

    Note:
      Valid where the covariance has a simple spectrum: `spectral_gap` measures how far a cloud is
      from a repeated eigenvalue. At one, no choice of axes is equivariant, the frame jumps, and its
      derivative is finite but means little.

    References:
      Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022,
      arXiv:2110.03336.
    """
    check_cloud(points, mask)
    check_group_name(group, points)
    return _frame(moments_of(points, mask, group), group, detach)


@on_own_mesh
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
      points: the nodes of all graphs, one per row.
      segment_ids: the graph of each node, from 0 to `num_segments - 1`. A node beyond, or with a
        negative entry, belongs to none, and only padding should. Outside of `jax.jit`, where values
        are known, nodes of none that differ from each other give a warning.
      num_segments: the number of graphs, static; graphs without nodes get a harmless frame.
      mask: `True` for real nodes.
      group: as in `pca_frame`.
      detach: as in `pca_frame`.

    Returns:
      A frame whose elements carry `(frame, graphs, ...)` axes and whose weights are
      `(frame, graphs)`.

    Raises:
      ValueError: as `pca_frame`, and if `segment_ids` is no vector of integers, one per node,
        more than one value of it names no graph, or `num_segments` is not positive.
    """
    num_segments = check_packed(points, segment_ids, num_segments, mask)
    check_group_name(group, points)
    warn_of_strays(points, segment_ids, num_segments, mask)
    clouds = by_segment(segment_ids, num_segments)
    return _frame(moments_of(points, mask, group, clouds), group, detach)


@on_own_mesh
def spectral_gap(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: GroupName = "E",
) -> Float[Array, ""]:
    r"""How far the principal axes of a cloud are from being ambiguous.

    Formula: $\min_k (\lambda_{k+1} - \lambda_k) / \lambda_{max}$ of the covariance that `pca_frame`
    diagonalises, between 0 (a repeated eigenvalue: the frame is not valid) and 1. In one dimension
    it is 1; a cloud whose points all coincide has gap 0. A repeated eigenvalue of zero, as for
    points on a line in space, does no harm to the points, but to vectors that leave their span.

    Args:
      points: as in `pca_frame`.
      mask: as in `pca_frame`.
      group: as in `pca_frame`; for `"T"` nothing is diagonalised and the gap is 1.

    Returns:
      The relative gap, a scalar of at least 32 bits.

    Raises:
      ValueError: as `pca_frame`.
    """
    check_cloud(points, mask)
    check_group_name(group, points)
    if group == "T" or points.shape[1] == 1:
        return jnp.ones((), at_least_float32(points).dtype)
    values, _ = eigh(moments_of(points, mask, group).covariance)
    largest = values[-1]
    gap = jnp.min(values[1:] - values[:-1])
    return jnp.where(largest > 0, gap / jnp.where(largest > 0, largest, 1), 0)


def _frame(moments: Moments, group: GroupName, detach: bool) -> Frame:
    base = principal_axes(moments, group, detach)
    if group == "T":
        return base
    return close(base, groups.signs(moments.centroid.shape[-1], proper=group in ("SO", "SE")))


def principal_axes(moments: Moments, group: GroupName, detach: bool) -> Frame:
    """A frame of one element, the signs of whose axes are arbitrary; a rotation for SO and SE."""
    centroid, covariance = moments.centroid, moments.covariance
    *graphs, dim = centroid.shape
    if group == "T":
        axes = jnp.broadcast_to(jnp.eye(dim, dtype=centroid.dtype), covariance.shape)
    else:
        _, axes = eigh(covariance)
    if group in ("SO", "SE"):
        # One axis is reversed if need be, so that all signs of product one make rotations: the
        # number of elements stays static. The sign is constant where the frame is differentiable.
        handedness = jnp.where(determinant(jax.lax.stop_gradient(axes)) < 0, -1, 1)
        axes = axes.at[..., 0].multiply(handedness.astype(axes.dtype)[..., None])
    base = Frame(Isometry(axes[None], centroid[None]), jnp.ones((1, *graphs), centroid.dtype))
    return jax.lax.stop_gradient(base) if detach else base
