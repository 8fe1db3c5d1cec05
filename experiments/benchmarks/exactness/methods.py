"""The averages that are compared, of one generic backbone, compiled for padded clouds."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

import symjax_frames as sf
from experiments.benchmarks.exactness.clouds import Clouds

Outputs = dict[str, np.ndarray]
"""Values, vectors, forces and rank-2 tensors of clouds, in float64, without unit."""
Run = Callable[[Clouds], Outputs]

_Function = Callable[..., tuple[Array, Array, Array]]
"""Of points, mask, species and unit: an energy, a vector a point, and a rank-2 tensor."""

_CHUNK = 32
_WIDTH = 16
_SHARPNESS = 10.0
DEGREE = 5
_INPUTS: dict[str, Any] = {"in_actions": (sf.points, None, None, None), "frame_argnums": (0, 1, 2)}
_OUTPUTS = (None, sf.vectors, sf.tensors(2))


class Method(NamedTuple):
    """A way to make a function equivariant.

    Attributes:
      wrap: from the backbone to its average.
      wrap_tensors: the same for rank-2 outputs, if that takes another frame.
    """

    wrap: Callable[[_Function], _Function]
    wrap_tensors: Callable[[_Function], _Function] | None = None


def backbone(
    points: Float[Array, "points 3"],
    mask: Bool[Array, " points"],
    species: Float[Array, " points"],
    unit: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, "points 3"], Float[Array, "3 3"]]:
    """A random network that keeps the order of the points, and no other symmetry."""
    rng = np.random.default_rng(0)

    def weights(rows: int, columns: int) -> Array:
        drawn = rng.normal(size=(rows, columns)) / np.sqrt(rows)
        return jnp.asarray(drawn, points.dtype)

    features = jnp.concatenate([points / unit, species[:, None] / 8], axis=1)
    hidden = jnp.tanh(features @ weights(4, _WIDTH) + weights(1, _WIDTH))
    pooled = jnp.sum(jnp.where(mask[:, None], hidden, 0), axis=0, keepdims=True)
    mixed = hidden @ weights(_WIDTH, _WIDTH) + pooled @ weights(_WIDTH, _WIDTH)
    out = jnp.sin(mixed + weights(1, _WIDTH)) @ weights(_WIDTH, 13)
    out = jnp.where(mask[:, None], out, 0)
    return jnp.sum(out[:, 0]), out[:, 1:4], jnp.sum(out[:, 4:], axis=0).reshape(3, 3)


def averaged(frame: Callable[..., sf.Frame], species: bool = False) -> Callable[..., Any]:
    """The average over a frame of points and mask.

    Args:
      frame: such as `sf.pca_frame`.
      species: whether it takes the species as `attributes`.
    """

    def source(points: Array, mask: Array, numbers: Array) -> sf.Frame:
        return frame(points, mask, attributes=numbers) if species else frame(points, mask)

    return functools.partial(sf.frame_average, frame=source, out_actions=_OUTPUTS, **_INPUTS)


def _over_rule(function: _Function) -> _Function:
    """The average over O(3) by quadrature, of centred points."""

    def rule(points: Array, mask: Array, species: Array) -> sf.Frame:
        return sf.quadrature(sf.orthogonal(3), DEGREE, points.dtype)

    turned = sf.frame_average(function, rule, out_actions=_OUTPUTS, **_INPUTS)
    return averaged(functools.partial(sf.pca_frame, group="T"))(turned)


def _textbook(points: Array, mask: Array) -> sf.Frame:
    """Principal axes as they are usually written down, whose derivative divides by zero."""
    real = mask[:, None]
    centroid = jnp.sum(jnp.where(real, points, 0), axis=0) / jnp.sum(mask, dtype=points.dtype)
    arms = jnp.where(real, points - centroid[None], 0)
    _, axes = jnp.linalg.eigh(arms.T @ arms)
    base = sf.Isometry(axes[None], centroid[None])
    return sf.close(sf.Frame(base, jnp.ones(1, points.dtype)), sf.signs(3))


_octahedral = functools.partial(sf.robust_frame, closure="octahedral")

METHODS: Mapping[str, Method] = {
    "no average": Method(lambda function: function),
    "quadrature": Method(_over_rule),
    "canonical": Method(averaged(sf.canonical_frame)),
    "canonical, smooth": Method(
        averaged(functools.partial(sf.canonical_frame, sharpness=_SHARPNESS))
    ),
    "PCA, textbook": Method(averaged(_textbook)),
    "PCA": Method(averaged(sf.pca_frame)),
    "robust": Method(averaged(sf.robust_frame), averaged(_octahedral)),
    "robust, species": Method(averaged(sf.robust_frame, True), averaged(_octahedral, True)),
}
"""From the bare backbone to the exact average, by name."""


def compiled(function: _Function, dtype: Any, *, energy_alone: bool = False) -> Run:
    """The outputs of a function, and the forces that its energy exerts.

    Args:
      function: the backbone, or its average.
      dtype: what it computes in.
      energy_alone: whether there is no other output, and no gradient is taken.

    Returns:
      A function of any number of clouds, compiled once. All lengths are in the units of the clouds.
    """
    shown = energy if energy_alone else outputs
    run = jax.jit(jax.vmap(functools.partial(shown, function)))

    def chunk(leaves: list[np.ndarray]) -> Outputs:
        spare = _CHUNK - len(leaves[0])
        full = [np.concatenate([leaf, np.repeat(leaf[-1:], spare, axis=0)]) for leaf in leaves]
        out = run(*full)
        if wrong := {str(leaf.dtype) for leaf in out.values()} - {np.dtype(dtype).name}:
            raise TypeError(f"outputs must be in {np.dtype(dtype).name}, got {wrong}")
        return {name: np.asarray(leaf, float)[: _CHUNK - spare] for name, leaf in out.items()}

    def call(clouds: Clouds) -> Outputs:
        points, species, units = (
            leaf.astype(dtype) for leaf in (clouds.points, clouds.species, clouds.units)
        )
        leaves = [points, clouds.mask, species, units]
        starts = range(0, len(points), _CHUNK)
        chunks = [chunk([leaf[start : start + _CHUNK] for leaf in leaves]) for start in starts]
        return {name: np.concatenate([part[name] for part in chunks]) for name in chunks[0]}

    return call


def outputs(
    function: _Function, points: Array, mask: Array, species: Array, unit: Array
) -> dict[str, Array]:
    """The outputs for one cloud, of which the forces are minus the gradient of the energy."""

    def energy(points: Array) -> tuple[Array, tuple[Array, Array]]:
        value, vectors, tensor = function(points, mask, species, unit)
        return value, (vectors, tensor)

    (value, (vectors, tensor)), slopes = jax.value_and_grad(energy, has_aux=True)(points)
    return {"values": value, "vectors": vectors, "forces": -slopes * unit, "rank 2": tensor}


def energy(
    function: _Function, points: Array, mask: Array, species: Array, unit: Array
) -> dict[str, Array]:
    """The energy of one cloud."""
    return {"values": function(points, mask, species, unit)[0]}
