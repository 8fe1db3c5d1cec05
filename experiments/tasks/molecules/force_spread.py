"""How far the networks of a committee differ in their forces."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from experiments.tasks.molecules.energies import PotentialLike
from experiments.tasks.molecules.local_potential import LocalCommittee
from experiments.tasks.molecules.potential import Committee, forces_of_batch
from experiments.tasks.molecules.spread import FORCES


def force_deviations(
    potential: PotentialLike, params: PyTree[Array], *molecules: Any
) -> dict[str, Float[Array, " molecules"]]:
    """How far the networks of a committee differ in their forces; each is evaluated once more."""
    if not isinstance(potential, Committee | LocalCommittee):
        return {}
    if len(jax.tree.leaves(params)[0]) < 2:
        return {}
    one = potential.one()
    forces = jax.lax.map(
        lambda network: forces_of_batch(one.with_spreads(network))(*molecules)[1], params
    )
    lengths = jnp.sqrt(jnp.sum(jnp.var(forces, axis=0, ddof=1), axis=-1))
    return {FORCES: jnp.max(lengths, axis=-1)}
