"""How far to trust a predicted energy: what elements of the frame, and networks, say of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

import symjax_frames as sf
from experiments.tasks.molecules.potential import Committee, Potential, forces_of_batch

FRAME = "energy_spread"
"""Deviation of the energies of the canonical molecules that a frame makes of one, in eV."""
ENERGY = "energy_deviation"
"""Sample deviation of the energies of the networks of a committee, in eV."""
FORCES = "force_deviation"
"""The same of their forces, the length of it, of the atom that has most, in eV/Angstrom."""

Energies = Callable[..., Float[Array, " molecules"]]
"""Of positions and species of a batch."""


def spreads_of(
    potential: Potential, params: PyTree[Array]
) -> Callable[..., dict[str, Float[Array, " molecules"]]]:
    """The spreads of a batch of molecules, by their names.

    The frame of a molecule, if there is one, makes all its elements see the same molecule in
    another orientation. A network that has learnt to be invariant gives them one energy, and what
    it says of a molecule unlike all that it has seen spreads. So do the networks of a committee.

    Args:
      potential: of energies.
      params: its parameters.

    Returns:
      A function of positions and species, with a leading axis for the molecules.
    """

    def spreads(
        positions: Float[Array, "molecules atoms 3"], species: Int[Array, "molecules atoms"]
    ) -> dict[str, Float[Array, " molecules"]]:
        found = {}
        if potential.config.frame != "none":
            found[FRAME] = _over_frame(potential, params)(positions, species)
        if isinstance(potential, Committee) and len(jax.tree.leaves(params)[0]) > 1:
            found |= _over_networks(potential, params)(positions, species)
        return found

    return spreads


def _over_frame(potential: Potential, params: PyTree[Array]) -> Energies:
    options: dict[str, Any] = {
        "in_actions": (sf.points, None),
        "out_actions": None,
        "frame_argnums": (0, 1),
        "with_variance": True,
    }
    bare = potential.bare(params)
    if potential.config.frame == "robust":
        both = sf.batch_average(bare, potential.frame, **options)
    else:
        both = jax.vmap(sf.frame_average(bare, potential.frame, **options))
    return lambda positions, species: jnp.sqrt(both(positions, species)[1])


def _over_networks(
    committee: Committee, params: PyTree[Array]
) -> Callable[..., dict[str, Float[Array, " molecules"]]]:
    one = Potential(committee.config, committee.facts, committee.targets)

    def of_networks(positions: Array, species: Array) -> dict[str, Array]:
        energies, forces = jax.lax.map(
            lambda network: forces_of_batch(one.energies(network))(positions, species), params
        )
        lengths = jnp.sqrt(jnp.sum(jnp.var(forces, axis=0, ddof=1), axis=-1))
        return {ENERGY: jnp.std(energies, axis=0, ddof=1), FORCES: jnp.max(lengths, axis=-1)}

    return of_networks
