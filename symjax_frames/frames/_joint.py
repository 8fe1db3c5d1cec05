"""Frames of points together with vectors: normals, velocities, a lattice, a field."""

import math
import numbers
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from symjax_frames._checks import check_cloud, describe, holds
from symjax_frames._matrices import at_least_float32
from symjax_frames._sharding import on_own_mesh
from symjax_frames.linalg import safe_norm


class JointCloud(NamedTuple):
    """What `joint_cloud` returns: the first two arguments of a frame.

    Attributes:
      points: the points, then the ends of the vectors.
      mask: which of these are no padding.
    """

    points: Float[Array, "joint dim"]
    mask: Bool[Array, " joint"]


@on_own_mesh
def joint_cloud(
    points: Float[Array, "points dim"],
    vectors: Float[Array, "points *several dim"] | None = None,
    mask: Bool[Array, " points"] | None = None,
    *,
    shared: Float[Array, "rows dim"] | None = None,
    scale: float | None = None,
) -> JointCloud:
    r"""The cloud of points $x_i$ and of the ends of vectors, so that a frame is made of both.

    A frame of the points alone does not see vectors that come with them. Where the points are
    symmetric, planar or on a line, the vectors may tell apart what the points do not: then a joint
    frame is exact where the other is not, or has fewer elements. Any frame of clouds can be made of
    a joint cloud, and is equivariant as before, since the ends move like points.

    Formula: the points $x_i$, then $x_i + s\, v_i$ for the vectors of points, then $c + s' u_k$ for
    those of the whole cloud, with the centroid $c$. By default $s$ is the ratio of the root mean
    squares of the arms $x_i - c$ and of the vectors, and $s'$ likewise, so units do not matter.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> def frame(points, normals):
      ...     return sf.robust_frame(*sf.frames.joint_cloud(points, normals))
      >>> law = dict(in_actions=(sf.points, sf.vectors), out_actions=None, frame_argnums=(0, 1))
      >>> flux = lambda points, normals: jnp.sum(jnp.sin(1 + points) * normals)
      >>> average = jax.jit(sf.frame_average(flux, frame, **law))
      >>> line, normals = jnp.outer(jnp.arange(4.0), jnp.ones(2)), jnp.eye(4, 2)
      >>> turn = sf.orthogonal(2).draw(jax.random.key(0), float)
      >>> turned = sf.points.push(turn, line), sf.vectors.push(turn, normals)
      >>> bool(jnp.isclose(average(*turned), average(line, normals), atol=1e-5))
      True

    Args:
      points: the cloud, one point per row.
      vectors: one vector for each point, such as a normal or a velocity, or several, of shape
        `(points, several, dim)`; in any unit.
      mask: `True` for real points; the others, and their vectors, are padding.
      shared: vectors of the cloud as a whole, one per row, such as those of a lattice or of an
        external field; in any unit.
      scale: the length in the cloud that one unit of a vector has, in place of $s$ and $s'$.

    Returns:
      The points, of at least 32 bits, and the mask that a frame is called with:
      `pca_frame(*joint_cloud(x, v))`.

    Raises:
      ValueError: if `points` and `mask` are no cloud, `vectors` or `shared` do not fit it, both are
        missing, or `scale` is no positive number.

    Note:
      Vectors change sign under an inversion. Pseudovectors, such as spins, do not: they fit into
      frames for `"SO"` and `"SE"` only. Without `scale`, a frame jumps where all vectors become
      zero at once, as velocities at rest; with it, a frame such as `robust_frame` does not.
      `attributes` of a frame are numbers for the rows of the joint cloud.
    """
    check_cloud(points, mask)
    if vectors is None and shared is None:
        raise ValueError("joint_cloud needs vectors, shared, or both, got neither")
    number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
    if scale is not None and not (number and 0 < scale < math.inf):
        raise ValueError(f"scale must be a positive number, or None for a ratio, got {scale!r}")
    if vectors is not None:
        _check("vectors", vectors, points, points.shape[:1])
    if shared is not None:
        _check("shared", shared, points, None)
    given = float(jnp.finfo(points.dtype).eps)
    points = at_least_float32(points)
    real = jnp.ones(points.shape[:1], bool) if mask is None else mask
    kept = jnp.where(real[:, None], points, 0)
    share = 1 / jnp.maximum(jnp.sum(real, dtype=points.dtype), 1)
    centroid = jnp.sum(kept * share, axis=0, keepdims=True)
    arms = jnp.where(real[:, None], points - centroid, 0)
    size = safe_norm(arms.reshape(-1)) * jnp.sqrt(share)
    # Points that all coincide, up to rounding, have no size: then the vectors alone make the frame.
    rounding = 64 * given * jnp.max(jnp.abs(kept))
    size = jnp.where(size > rounding, size, 1)

    clouds, masks = [points], [real]
    if vectors is not None:
        several = vectors[:, None] if vectors.ndim == 2 else vectors
        several = jnp.where(real[:, None, None], several.astype(points.dtype), 0)
        ends = kept[:, None] + _scaled(several, size, share / several.shape[1], scale)
        clouds.append(ends.reshape(-1, points.shape[1]))
        masks.append(jnp.broadcast_to(real[:, None], ends.shape[:2]).reshape(-1))
    if shared is not None:
        rows = shared.astype(points.dtype)
        clouds.append(
            centroid + _scaled(rows, size, jnp.asarray(1 / rows.shape[0], size.dtype), scale)
        )
        masks.append(jnp.ones(rows.shape[:1], bool))
    return JointCloud(jnp.concatenate(clouds), jnp.concatenate(masks))


def _scaled(
    vectors: Float[Array, "..."],
    size: Float[Array, ""],
    share: Float[Array, ""],
    scale: float | None,
) -> Float[Array, "..."]:
    """Vectors as lengths in the cloud: times `scale`, or of the root mean square `size`."""
    if scale is not None:
        return vectors * float(scale)
    own = safe_norm(vectors.reshape(-1)) * jnp.sqrt(share)
    return vectors / jnp.where(own > 0, own, 1) * size


def _check(name: str, vectors: Array, points: Array, rows: tuple[int, ...] | None) -> None:
    shape = getattr(vectors, "shape", ())
    fits = len(shape) in ((2, 3) if name == "vectors" else (2,))
    if not fits or rows not in (None, shape[:1]) or shape[-1:] != points.shape[1:] or 0 in shape:
        expected = "(points, dim) or (points, several, dim)" if name == "vectors" else "(rows, dim)"
        raise ValueError(
            f"{name} must have shape {expected} for points of shape {points.shape}, got "
            f"{describe(vectors)}"
        )
    if not holds(points.dtype, vectors.dtype):
        raise ValueError(
            f"{name} must be floating, of no more digits than the {points.dtype} points, got "
            f"{vectors.dtype}"
        )
