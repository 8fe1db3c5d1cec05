"""Frames that are exact and continuous on every cloud, symmetric and degenerate ones included."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Real

from symjax_frames._checks import check_cloud, describe, is_integer
from symjax_frames._matrices import at_least_float32
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames._unrolled import total
from symjax_frames.elements import Isometry
from symjax_frames.frames._gram_schmidt import Bases, make_bases
from symjax_frames.frames._moments import moments_of, rounding_floor
from symjax_frames.frames._overflow import OnOverflow, check_on_overflow, robust_weights
from symjax_frames.frames._ranks import ranking_of_crowd
from symjax_frames.frames._robust_options import Closure, RobustGroup, check_options
from symjax_frames.linalg import power_of_two


@on_own_mesh
def robust_frame(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: RobustGroup = "E",
    capacity: tuple[int, ...] | None = None,
    max_elements: int | None = None,
    threshold: float = 0.9,
    closure: Closure = "signs",
    attributes: Real[Array, " points"] | None = None,
    on_overflow: OnOverflow = "drop",
    detach: bool = False,
) -> Frame:
    r"""Frame of orthogonalised arms, exact and continuous on every cloud in the plane and in space.

    The arms are $r_i = x_i - t$, from the centroid $t$ (from the origin for `"O"` and `"SO"`).
    Every point may give the first axis, $e_1 = r_i / |r_i|$, with a weight $u_i$ that depends on
    the length of its arm. In space every other point may then give the second axis, along the part
    of $r_j$ perpendicular to $e_1$, with a weight $v_{ij}$ that depends on the length of that part
    and on how far ahead along $e_1$ the point is. The last axis completes the basis. The weights
    are

    $$u_i = b\!\left(\frac{|r_i|^2}{\max_k |r_k|^2}\right), \qquad
      v_{ij} = b\!\left(\frac{q_{ij}}{\max_k q_{ik}}\right), \qquad
      q_{ij} = |r_i \times r_j|^2 \exp \frac{2 h\, r_i \cdot r_j}{|r_i|^2 + |r_j|^2},$$

    where $b$ steps smoothly from 0 at $1 - w$ to 1 at 1, and the maximum is a smooth one. Each
    basis is an element of weight $u_i / \sum_k u_k \cdot v_{ij} / \sum_k v_{ik}$. All points that
    tie are kept, and the weight of a point whose rank falls reaches zero before it is left out: the
    average never jumps. The more points there are, the finer they are told apart: of $n$ points,
    $w$ is 1 - `threshold` divided by $\max(n / 8, 1)$, but at least 0.001. The height counts with
    $h = 2$.

    For `"O"` and `"E"` both signs of the last axis are kept. In a collinear cloud the second axis
    is arbitrary, so bases with its sign reversed gain weight as a cloud becomes collinear; where
    all points coincide, all signs have the same weight. So values, vectors and forces are exact on
    planar, linear and coincident clouds, and the gradient of invariants is continuous (so is the
    second derivative, except at collinear clouds). A cloud without ties has 2 elements of nonzero
    weight for `"E"`, 1 for `"SE"`. All of `max_elements` are evaluated, so let `frame_capacity`
    find how many a data set needs.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> square = jnp.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
      >>> weight = jax.random.normal(jax.random.key(0), (3, 3))
      >>> energy = lambda x: jnp.sum(jnp.sin(x @ weight + 1))
      >>> law = dict(in_actions=sf.points, out_actions=None)
      >>> energy = jax.jit(sf.frame_average(energy, sf.robust_frame, **law))
      >>> turn = sf.orthogonal(3).draw(jax.random.key(1), float)
      >>> bool(jnp.isclose(energy(sf.points.push(turn, square)), energy(square), rtol=1e-5))
      True

    Args:
      points: the cloud, one point per row, in 2 or 3 dimensions, in any unit of length.
      mask: `True` for real points; the others are padding and change nothing.
      group: the group the frame is for.
      capacity: how many choices of each axis but the last are kept; 12 of each by default.
      max_elements: how many elements are kept, those of the heaviest bases; by default 48 for
        `"SO"` and `"SE"` and 96 for `"O"` and `"E"`, twice as many as a cube needs. The weight of
        the others is dropped, and the average over the rest is not equivariant.
      threshold: the rank at which weights vanish in clouds of up to 8 points, relative to the best;
        above 0, at most 0.999. A higher one means fewer elements, and steeper weights.
      closure: `"signs"` averages over signs of the axes that a flat cloud leaves open, which is
        exact for invariants and vectors; `"octahedral"` over their permutations too, which is exact
        for tensors up to rank 3.
      attributes: numbers $a_i$ that tell points apart, such as atomic numbers: $|r_i|^2$ and $q_{ij}$
        are multiplied by $1 + a_i^2$ and $1 + a_j^2$, so that fewer points tie. Only magnitudes
        count, and one below about a hundredth of the largest counts as a hundredth of it.
      on_overflow: what becomes of weight that is dropped. With `"drop"` the elements that are kept
        share it, and outside of `jax.jit` and `jax.vmap` a `FrameOverflowWarning` says what is
        needed; inside, `frame_diagnostics` does. With `"nan"` all weights are NaN, and so is
        whatever is averaged over them, inside too.
      detach: treat the frame as constant under differentiation.

    Returns:
      The frame, of at least 32 bits. An element of weight zero is a copy of one with the largest
      weight.

    Raises:
      ValueError: if `points` is no floating cloud in 2 or 3 dimensions, `mask` or `attributes` do
        not fit it, `capacity` is not one positive integer for each axis but the last, `threshold`
        is out of range, or `group`, `closure` or `on_overflow` is none of those named.

    Note:
      Where all points of a cloud coincide there are no directions, and vectors that do not vanish
      there jump; invariants stay continuous if the averaged function is. Lengths below about 1e-5
      of the cloud (1e-14 in float64), or below the rounding of the coordinates, count as zero.
      Points that a symmetry exchanges tie, whatever they are ranked by: of a symmetric cloud, up to
      four times as many elements are needed as its group has. C60 has 120, and needs 240 elements
      of 60 first axes.
      Hundreds of points on a sphere all tie: no capacity holds them. `frame_capacity` refuses such a
      cloud and says what else there is.

    References:
      Weighted frames that keep averages continuous, and why no choice of single elements can: Dym,
      Lawrence and Siegel, Equivariant Frames and the Impossibility of Continuous Canonicalization,
      ICML 2024, arXiv:2402.16077.
      Axes from pairs of points with weights that vanish smoothly: Pozdnyakov and Ceriotti, Smooth,
      exact rotational symmetrization for deep learning on point clouds, NeurIPS 2023,
      arXiv:2305.19302.
    """
    check_on_overflow(on_overflow)
    options = group, capacity, max_elements, threshold, closure
    bases, shift = robust_bases(points, mask, *options, attributes)
    count, dim = points.shape
    weights = robust_weights(bases, on_overflow, lambda: check_options(count, dim, *options))
    shifts = jnp.broadcast_to(shift[None], bases.linear.shape[:-1])
    frame = Frame(Isometry(bases.linear, shifts), weights)
    return jax.lax.stop_gradient(frame) if detach else frame


def robust_bases(
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
    group: RobustGroup = "E",
    capacity: tuple[int, ...] | None = None,
    max_elements: int | None = None,
    threshold: float = 0.9,
    closure: Closure = "signs",
    attributes: Real[Array, " points"] | None = None,
) -> tuple[Bases, Float[Array, " dim"]]:
    """The bases of `robust_frame`, with the weight that was dropped, and the centroid."""
    check_cloud(points, mask)
    count, dim = points.shape
    if dim not in (2, 3):
        raise ValueError(
            f"points must be in 2 or 3 dimensions, one point per row, got shape {points.shape}; "
            "pca_frame takes any dimension"
        )
    options = check_options(count, dim, group, capacity, max_elements, threshold, closure)
    real = jnp.ones(points.shape[:1], bool) if mask is None else mask
    factors = _factors(points, real, attributes)
    if not is_integer(count):
        # A number that `jax.export` keeps open: padding makes it at least that of the choices.
        spare = max(options.capacity)
        points, real = jnp.pad(points, ((0, spare), (0, 0))), jnp.pad(real, (0, spare))
        factors = None if factors is None else jnp.pad(factors, (0, spare), constant_values=1)
    dtype = points.dtype
    points = at_least_float32(jnp.where(real[:, None], points, 0))
    moments = moments_of(points, real, group)
    arms = moments.arms
    if group in ("E", "SE"):
        # Centred once more: the first centroid is rounded as coarsely as far-away coordinates are.
        arms = _centred(arms, real)
    far = jax.lax.stop_gradient(jnp.max(jnp.abs(points))) / moments.scale
    bases = make_bases(
        arms,
        ranking_of_crowd(jnp.sum(real, dtype=arms.dtype), threshold, factors),
        ambiguity=jnp.zeros((), arms.dtype),
        floor=rounding_floor(dtype, arms.dtype, far),
        closure=options.closure,
        capacity=options.capacity,
        max_elements=options.max_elements,
    )
    # Where there are no points there is nothing to lose.
    bases = bases._replace(dropped=jnp.where(jnp.any(real), bases.dropped, 0))
    return bases, moments.centroid


@jax.jit
def _centred(arms: Float[Array, "points dim"], real: Bool[Array, " points"]) -> Array:
    """The arms without their mean, padding zero: one program also outside of `jax.jit`."""
    num_real = jnp.maximum(jnp.sum(real, dtype=arms.dtype), 1)
    return jnp.where(real[:, None], arms - total(arms / num_real, 0)[None], 0)


def _factors(
    points: Array, real: Array, attributes: Array | None
) -> Float[Array, " points"] | None:
    """The factors of squared lengths that attributes make, divided so that they stay small."""
    if attributes is None:
        return None
    shape, dtype = getattr(attributes, "shape", None), getattr(attributes, "dtype", bool)
    floating = jnp.issubdtype(dtype, jnp.floating)
    if shape != points.shape[:1] or not (floating or jnp.issubdtype(dtype, jnp.integer)):
        raise ValueError(
            f"attributes must be real numbers of shape {points.shape[:1]}, one for each point, got "
            f"{describe(attributes)}"
        )
    limits = jnp.finfo(at_least_float32(points).dtype)
    if floating and jnp.finfo(dtype).bits > limits.bits:
        attributes = jnp.clip(attributes, float(limits.min), float(limits.max))
    values = jnp.where(real, attributes.astype(limits.dtype), 0)
    scale = power_of_two(jnp.maximum(jnp.max(jnp.abs(values)), 1))
    least, values = jnp.maximum(1 / scale, 1e-2), values / scale
    return least * least + values * values
