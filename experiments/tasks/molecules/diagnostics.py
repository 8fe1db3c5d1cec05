"""Laws of forces that a trained model is held to: they come from an energy and turn nothing."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.crystals import inputs_of
from experiments.tasks.molecules.parts import in_parts
from experiments.tasks.molecules.potential import Potential, forces_of_batch
from symjax_frames.linalg import safe_norm

Batch = dict[str, Array]

_AT_A_TIME = 10
"""Molecules whose energies are differentiated at once."""
_STEP = 1e-4
"""In Angstrom; differences of energies in float64 are then right to about eight digits."""


def net_torque(
    positions: Float[Array, "atoms 3"],
    species: Int[Array, " atoms"],
    forces: Float[Array, "atoms 3"],
) -> Float[Array, ""]:
    r"""The torque on a molecule relative to the moments of its atoms.

    Formula: $|\sum_i r_i \times F_i| / \sum_i |r_i| |F_i|$, with $r_i$ from the mean of the atoms.
    It is zero for the gradient of an energy that no rotation changes.
    """
    arms = centred(positions, species > 0)
    torque = safe_norm(jnp.sum(jnp.cross(arms, forces), axis=0))
    moments = jnp.sum(safe_norm(arms) * safe_norm(forces))
    return torque / jnp.where(moments > 0, moments, 1)


def consistency_errors(
    potential: Potential,
    params: PyTree[Array],
    keys: Key[Array, " examples"],
    batch: Batch,
) -> Float[np.ndarray, " examples"]:
    r"""How far forces are from differences of the energy along a random direction, in float64.

    Formula: $|(E(x + h v) - E(x - h v)) / 2 h + F \cdot v| / |F|$, with $v$ of length one in all
    coordinates of the molecule.

    Args:
      potential: the model.
      params: its parameters.
      keys: draw the directions.
      batch: the molecules.
    """
    directions = np.asarray(
        jax.vmap(lambda key: jax.random.normal(key, batch["positions"].shape[1:]))(keys), float
    )
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), params)
        positions, *rest = inputs_of(batch)
        positions = jnp.asarray(np.asarray(positions), float)
        rest = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), rest)

        def energies_and_forces(positions: np.ndarray | Array) -> tuple[Array, Array]:
            return _energies_and_forces(potential, params, positions, rest)

        directions = np.where(np.asarray(batch["species"])[..., None] > 0, directions, 0)
        directions = directions / np.linalg.norm(directions, axis=(1, 2), keepdims=True)
        # Calls of one compiled program: to compile a robust frame takes longer than to run it.
        (ahead, _), (behind, _) = (
            energies_and_forces(positions + side * _STEP * directions) for side in (1, -1)
        )
        forces = np.asarray(energies_and_forces(positions)[1])
        change = np.asarray(ahead - behind) / (2 * _STEP)
        off = np.abs(change + np.sum(forces * directions, axis=(1, 2)))
        lengths = np.linalg.norm(forces, axis=(1, 2))
        return off / np.where(lengths > 0, lengths, 1)


@functools.partial(jax.jit, static_argnums=0)
def _energies_and_forces(
    potential: Potential,
    params: PyTree[Array],
    positions: Float[Array, "molecules atoms 3"],
    rest: list[Any],
) -> tuple[Float[Array, " molecules"], Float[Array, "molecules atoms 3"]]:
    # Compiled once for the parameters of all seeds.
    model = forces_of_batch(potential.with_spreads(params))
    # All at once, the frames of large molecules would take gigabytes.
    return in_parts(lambda part: model(*part)[:2], (positions, *rest), _AT_A_TIME)
