"""Canonical frames of point clouds: principal axes whose signs the third moments choose."""

import math
import numbers

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from symjax_frames import groups
from symjax_frames._checks import check_cloud
from symjax_frames._matrices import apply, at_least_float32
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames._unrolled import settled, total
from symjax_frames.elements import Isometry
from symjax_frames.frames._checks import GroupName, check_group_name
from symjax_frames.frames._close import close
from symjax_frames.frames._moments import Moments, moments_of
from symjax_frames.frames._pca import principal_axes, spectral_gap

_FLATNESS = 1e-3
"""Of the squared size of a cloud: widths below do not count for the weights of the smooth form."""


@on_own_mesh
def canonical_frame(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: GroupName = "E",
    sharpness: float | None = None,
    detach: bool = False,
) -> Frame:
    r"""Principal-axes frame of one element: the skewness of the cloud chooses the axes' signs.

    With the principal axes $v_k$ of the centred cloud $r_i$ and its third moments along them,

    $$m_k = \sum_i (r_i \cdot v_k)^3 \Big/ \Big(\sum_i (r_i \cdot v_k)^2\Big)^{3/2}, \quad |m_k| \le 1,$$

    the element is $(V \mathrm{diag}(s), t)$ with the sign vector $s$ that maximises
    $\sum_k s_k m_k$. That is $s_k = \mathrm{sign}(m_k)$ for `"O"` and `"E"`. For `"SO"` and `"SE"`
    the product of the signs is fixed, and the sign of the least $|m_k|$ is reversed if need be. One
    evaluation takes the place of the `2^dim` of `pca_frame`.

    That choice jumps where a moment passes zero. With `sharpness=b` all sign vectors stay, in the
    order of `pca_frame`, with the weights $\prod_k \sigma(b\, s_k m_k)$, normalised over the
    rotations for `"SO"` and `"SE"`. They are smooth in the cloud, equal where the moments vanish, as
    in `pca_frame`, and tend to the one element as $b \to \infty$. Of the smooth form, $m_k$ has
    $10^{-3} \sum_i |r_i|^2$ added to the sum of squares, so that the moment along the normal goes to
    zero as a cloud becomes planar.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> cloud = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
      >>> make_frame = jax.jit(sf.canonical_frame, static_argnames="sharpness")
      >>> frame = make_frame(cloud)
      >>> frame.elements.linear.shape, frame.weights.tolist()
      ((1, 2, 2), [1.0])
      >>> turned = make_frame(-cloud)
      >>> bool(jnp.allclose(turned.elements.linear, -frame.elements.linear, atol=1e-6))
      True
      >>> make_frame(cloud, sharpness=10.0).weights.shape
      (4,)

    Args:
      points: the cloud, one point per row, in any unit of length.
      mask: `True` for real points; the others are padding and change nothing. All real by default.
      group: the group the frame is for; `"T"` has no axes, and its frame is that of `pca_frame`.
      sharpness: how steeply the weights of the smooth form depend on the third moments, positive;
        `None` for the one element.
      detach: treat the frame, weights included, as constant under differentiation.

    Returns:
      The frame, of at least 32 bits. It is differentiable through the axes and the weights; the
      signs have no derivative.

    Raises:
      ValueError: if `sharpness` is neither `None` nor a positive finite number, and as `pca_frame`.

    Note:
      Valid where the spectrum is simple, as for `pca_frame`, and, without `sharpness`, where the
      third moments decide. Where the cloud has a mirror plane, or is planar, the moment along the
      normal of the plane vanishes, and both signs of that axis give the same canonical cloud. For
      `"O"` and `"E"` invariants and vectors within the plane are then right, but vectors off the
      plane, which an average over both signs makes zero, are not. For `"SO"` and `"SE"` the other
      two axes determine the sign. A moment that vanishes without such a symmetry, as all do in a
      cloud with an inversion centre, leaves the invariants undetermined too: use `sharpness` there.
      A width below some 256 rounding errors of the coordinates, or 4 of those of 16 bits, counts as
      none.

    References:
      Principal axes as a frame: Puny et al., Frame Averaging for Invariant and Equivariant Network
      Design, ICLR 2022, arXiv:2110.03336.
    """
    check_cloud(points, mask)
    check_group_name(group, points)
    if sharpness is not None:
        _check_sharpness(sharpness)
    moments = moments_of(points, mask, group)
    base = principal_axes(moments, group, detach)
    if group == "T":
        return base
    axes = base.elements.linear[0]
    flatness = 0.0 if sharpness is None else _FLATNESS
    skewness = _third_moments(moments, axes, points, mask, flatness)
    proper = group in ("SO", "SE")
    if sharpness is None:
        signed = axes * _signs(skewness, proper)[None]
        return Frame(Isometry(signed[None], base.elements.shift), base.weights)
    flips = groups.signs(points.shape[1], proper=proper)
    signs = jnp.diagonal(flips.cast(skewness.dtype).linear, axis1=1, axis2=2)
    # Logarithms, since every product may underflow where a rotation must go against large moments.
    # The steepness is kept far below the largest float, so that no sum of logarithms is infinite.
    steepness = min(float(sharpness), float(jnp.finfo(skewness.dtype).max) ** 0.5)
    odds = jnp.sum(jax.nn.log_sigmoid(steepness * signs * skewness[None]), axis=1)
    weights = jax.nn.softmax(odds)
    return close(base, flips)._replace(
        weights=jax.lax.stop_gradient(weights) if detach else weights
    )


@on_own_mesh
def canonical_margin(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: GroupName = "E",
) -> Float[Array, ""]:
    r"""How far the one element of `canonical_frame` is from being ambiguous.

    Formula: the smaller of `spectral_gap` and of half the distance, in $\sum_k s_k m_k$, between
    the best sign vector and the next best. That half is $\min_k |m_k|$ for `"O"` and `"E"`. For
    `"SO"` and `"SE"` it is $|m|_{(2)} \pm |m|_{(1)}$ of the two smallest, with minus where the
    signs of all moments together make a reflection. A planar cloud has margin 0 for `"O"` and
    `"E"`, but may have one for `"SO"` and `"SE"`.

    Args:
      points: as in `canonical_frame`.
      mask: as in `canonical_frame`.
      group: as in `canonical_frame`; for `"T"`, without axes, the margin is 1.

    Returns:
      The margin, between 0 (ambiguous) and 1, of at least 32 bits. The smooth form needs a spectral
      gap alone.

    Raises:
      ValueError: as `canonical_frame`.
    """
    gap = spectral_gap(points, mask, group=group)
    proper = group in ("SO", "SE")
    if group == "T" or (proper and points.shape[1] == 1):
        return gap
    moments = moments_of(points, mask, group)
    axes = principal_axes(moments, group, False).elements.linear[0]
    skewness = _third_moments(moments, axes, points, mask)
    smallest = jnp.sort(jnp.abs(skewness))
    if not proper:
        return jnp.minimum(gap, smallest[0])
    handedness = jnp.prod(_signs(skewness, False))
    return jnp.minimum(gap, smallest[1] + handedness * smallest[0])


def _third_moments(
    moments: Moments,
    axes: Float[Array, "dim dim"],
    points: Array,
    mask: Array | None,
    flatness: float = 0.0,
) -> Float[Array, " dim"]:
    """The third moments over the widths, to which a part of the size of the cloud is added."""
    # The width of a planar cloud is rounding error, and its third moment relative to that width is
    # of order one: it would overrule the true moments where a rotation has to choose. So lengths
    # are in units of the rounding error, and adding one to the sixth power makes such a moment
    # vanish; for a true width it changes no digit.
    # Coordinates of 16 bits have no 256 roundings to spare: of them, 4 are enough.
    computed, given = (float(jnp.finfo(x.dtype).eps) for x in (moments.arms, points))
    eps = max(computed, given / 64)
    sizes = jnp.abs(at_least_float32(points)) / moments.scale
    if mask is not None:
        sizes = jnp.where(mask[:, None], sizes, 0)
    # No less than the square of the longest arm, and finite where all points are equal and large.
    square = jnp.maximum(total(total(jnp.minimum(sizes, 1 / eps) ** 2, 0), 0), 9)
    noise = 256 * eps * jnp.sqrt(jax.lax.stop_gradient(square))
    along = settled(apply(axes.T, moments.arms) / noise)
    second, third = total(along**2, 0), total(along**3, 0)
    return third * jax.lax.rsqrt(1 + (second + flatness * total(second, 0)) ** 3)


def _signs(skewness: Float[Array, " dim"], proper: bool) -> Float[Array, " dim"]:
    """The sign vector `s` that maximises `sum(s * skewness)`, of product one if `proper`."""
    signs = jnp.where(skewness < 0, -1, 1).astype(skewness.dtype)
    if not proper:
        return signs
    return signs.at[jnp.argmin(jnp.abs(skewness))].multiply(jnp.prod(signs))


def _check_sharpness(sharpness: object) -> None:
    number = isinstance(sharpness, numbers.Real) and not isinstance(sharpness, bool)
    if not number or not 0 < sharpness < math.inf:  # type: ignore[operator]
        raise ValueError(
            f"sharpness must be a positive finite number, or None for one element, got {sharpness!r}"
        )
