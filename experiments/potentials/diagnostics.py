"""Laws of forces that a trained model is held to: they come from an energy and turn nothing."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from experiments.potentials.potential import Potential, forces_of
from symjax_frames.linalg import safe_norm

_STEP = 1e-4
"""In Angstrom; differences of energies in float64 are then right to about eight digits."""


def net_torque(
    positions: Float[Array, "atoms 3"],
    species: Int[Array, " atoms"],
    forces: Float[Array, "atoms 3"],
) -> Float[Array, ""]:
    r"""The torque on a molecule relative to the moments of its atoms.

    Formula: $|\sum_i r_i \times F_i| / \sum_i |r_i| |F_i|$, with $r_i$ from the mean of the atoms. It
    is zero for the gradient of an energy that no rotation changes.
    """
    real = (species > 0)[:, None]
    count = jnp.maximum(jnp.sum(real), 1).astype(positions.dtype)
    centroid = jnp.sum(jnp.where(real, positions, 0), axis=0, keepdims=True) / count
    arms = jnp.where(real, positions - centroid, 0)
    torque = safe_norm(jnp.sum(jnp.cross(arms, forces), axis=0))
    moments = jnp.sum(safe_norm(arms) * safe_norm(forces))
    return torque / jnp.where(moments > 0, moments, 1)


def consistency_errors(
    potential: Potential,
    params: PyTree[Array],
    keys: Key[Array, " examples"],
    batch: dict[str, Array],
) -> Float[np.ndarray, " examples"]:
    r"""How far forces are from differences of the energy along a random direction, in float64.

    Formula: $|(E(x + h v) - E(x - h v)) / 2 h + F \cdot v| / |F|$, with $v$ of length one in all
    coordinates of the molecule.

    Args:
      potential: the model.
      params: its parameters.
      keys: draw the directions.
      batch: `positions` and `species` of molecules.
    """
    directions = np.asarray(
        jax.vmap(lambda key: jax.random.normal(key, batch["positions"].shape[1:]))(keys)
    )
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), params)
        positions = jnp.asarray(np.asarray(batch["positions"]), float)
        species = jnp.asarray(np.asarray(batch["species"]))

        @jax.jit
        def errors(positions: Array, species: Array, directions: Array) -> Array:
            energy = potential.energy(params)

            def error(positions: Array, species: Array, direction: Array) -> Array:
                direction = jnp.where((species > 0)[:, None], direction, 0)
                direction /= jnp.sqrt(jnp.sum(direction**2))
                _, forces = forces_of(energy)(positions, species)
                change = energy(positions + _STEP * direction, species)
                change -= energy(positions - _STEP * direction, species)
                off = change / (2 * _STEP) + jnp.sum(forces * direction)
                length = jnp.sqrt(jnp.sum(forces**2))
                return jnp.abs(off) / jnp.where(length > 0, length, 1)

            return jax.vmap(error)(positions, species, directions)

        return np.asarray(errors(positions, species, jnp.asarray(directions, float)))
