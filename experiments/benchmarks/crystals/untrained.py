"""An untrained potential: a random network for atoms, and pairs that hold a crystal together."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.energies import EnergyAlone, Precision
from experiments.tasks.molecules.local_potential import make_potential
from experiments.tasks.molecules.networks.basis import envelope
from experiments.tasks.molecules.networks.neighbour_table import Surroundings

CUTOFF = 4.0
"""In Angstrom."""
DISTANCE = 2.5
"""Of atoms that are bound to each other, in Angstrom."""
SPECIES = 3
"""That elements are mapped to, by their atomic numbers."""
_WELL, _STIFFNESS = 0.3, 1.6
"""Depth of a pair in eV, and how fast it changes, per Angstrom."""
_NETWORK = 0.3
"""Of the outputs of the network, in eV."""
_FRAMES: dict[str, dict[str, Any]] = {
    # Sites of a crystal have many equal neighbours: up to 192 elements in a perovskite.
    "local": {"frame": "local", "vectors": 2, "capacity": (16, 16)},
    "none": {"frame": "none"},
}


class Sizes(NamedTuple):
    """Of the network."""

    hidden: int = 12
    layers: int = 2
    radial: int = 4
    degree: int = 2


def untrained(
    frame: str,
    sizes: Sizes,
    seed: int = 0,
    skin: float = 0.3,
    max_elements: int = 256,
    dtype: Precision = "float64",
) -> SymmetrizedCalculator:
    """The calculator of an untrained potential.

    Args:
      frame: `"local"`, or `"none"` for the same kind of network without an average.
      sizes: of the network.
      seed: of its weights.
      skin: of its neighbour lists, in Angstrom.
      max_elements: that the local frame of an atom has room for.
      dtype: in which it computes.
    """
    room: dict[str, Any] = {"max_elements": max_elements} if frame == "local" else {}
    config = MoleculesModelConfig(cutoff=CUTOFF, **sizes._asdict(), **_FRAMES[frame], **room)
    facts = MoleculeFacts(tuple(range(1, SPECIES + 1)), (0.0,) * SPECIES, _NETWORK)
    potential = make_potential(config, facts, "energy_forces")
    drawn = jax.device_get(potential.init(jax.random.key(seed)))
    network = EnergyAlone(potential, jax.tree.map(np.dtype(dtype).type, drawn))

    def energy(
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        surroundings: Surroundings,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        value, others = network(positions, species, surroundings)
        return value + _pairs(positions, surroundings), others

    return SymmetrizedCalculator(
        energy,
        species_of=_species_of,
        room=functools.partial(potential.room),
        reach=CUTOFF,
        skin=skin,
        dtype=dtype,
    )


def _species_of(numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
    return 1 + numbers % SPECIES


def _pairs(positions: Float[Array, "atoms 3"], surroundings: Surroundings) -> Float[Array, ""]:
    """Morse wells that end at the cutoff."""
    vectors = surroundings.vectors(positions)
    squares = jnp.sum(vectors**2, axis=-1)
    distances = jnp.sqrt(jnp.where(squares > 0, squares, 4 * CUTOFF**2))
    falls = jnp.exp(_STIFFNESS * (DISTANCE - distances))
    return jnp.sum(_WELL * (falls**2 - 2 * falls) * envelope(distances, CUTOFF)) / 2
