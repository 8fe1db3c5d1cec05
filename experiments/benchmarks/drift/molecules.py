"""Small molecules that pass through symmetric, planar and linear shapes, and their potentials.

The potential is the average of a fixed random network, which is the part that a frame can spoil,
plus springs between atoms, which are invariant by themselves and only keep the molecule in one
piece.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import symjax_frames as sf

Energy = Callable[[Float[Array, "points 3"]], Float[Array, ""]]
"""Potential energy in eV of positions in angstrom."""

_AMPLITUDE = 0.3
"""Energy of the network in eV: of the order of the barrier of an inversion."""
_LENGTH = 0.7
"""Angstroms over which the network changes: less than a bond."""
_WIDTH = 16


class Spring(NamedTuple):
    """A harmonic spring between two atoms, in eV and angstrom."""

    first: int
    second: int
    stiffness: float
    length: float


class Molecule(NamedTuple):
    """A molecule and where it starts.

    Attributes:
      name: what it does.
      numbers: atomic numbers.
      positions: in angstrom.
      directions: velocities up to a factor; net momentum and rotation are to be taken out.
      kinetic: the kinetic energy in eV, once they are.
      springs: what holds it together.
      flatness: how many of its three widths vanish when it is flat: 1 in a plane, 2 on a line.
    """

    name: str
    numbers: tuple[int, ...]
    positions: Float[np.ndarray, "points 3"]
    directions: Float[np.ndarray, "points 3"]
    kinetic: float
    springs: tuple[Spring, ...]
    flatness: int


def molecules() -> tuple[Molecule, ...]:
    """Ammonia that inverts, with a mirror plane that its motion keeps and without, and water.

    With the mirror plane the principal axis across it and those within it cross exactly; without it
    they only come close. Water without rotation stays in its plane and bends through a line.
    """
    side, height = 1.70, 0.25
    radius = side / np.sqrt(3)
    # One bond is stretched: with all sides equal, two principal axes would be undefined at once.
    hydrogens = [[radius + 0.1, 0, 0], [-radius / 2, side / 2, 0], [-radius / 2, -side / 2, 0]]
    ammonia = np.array([[0, 0, height], *hydrogens])
    inversion = np.array([[0, 0, -3.0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    stretch = np.array([[0.2, 0, 0], [0.5, 0, -0.3], [-0.2, 0.7, 0.2], [-0.2, -0.7, 0.2]])
    bonds = [Spring(0, atom, 20.0, 1.01) for atom in (1, 2, 3)]
    sides = [Spring(*pair, 8.0, side) for pair in ((1, 2), (2, 3), (1, 3))]
    kick = np.random.default_rng(2).normal(size=(4, 3))
    half = np.deg2rad(75)
    water = np.array([[0, 0, 0], *([sign * np.sin(half), np.cos(half), 0] for sign in (-1, 1))])
    bend = np.array([[0.3, -1, 0], [0.3, 2, 0], [-0.8, 2.5, 0]])
    arms = (Spring(0, 1, 20.0, 0.96), Spring(0, 2, 20.0, 0.96), Spring(1, 2, 2.0, 1.8))
    return (
        Molecule(
            "NH3, mirror symmetric",
            (7, 1, 1, 1),
            ammonia,
            inversion + stretch,
            1.0,
            (*bonds, *sides),
            flatness=1,
        ),
        Molecule(
            "NH3, no symmetry",
            (7, 1, 1, 1),
            ammonia,
            inversion + stretch + 0.3 * kick,
            1.0,
            (*bonds, *sides),
            flatness=1,
        ),
        Molecule("H2O, through a line", (8, 1, 1), 0.96 * water, bend, 0.5, arms, flatness=2),
    )


def potential(molecule: Molecule, frame: Callable[..., sf.Frame], seed: int = 0) -> Energy:
    """The potential energy: a random network averaged over a frame, and the springs.

    Args:
      molecule: the molecule.
      frame: a frame for the Euclidean group.
      seed: draws the weights of the network.

    Returns:
      A smooth function of the positions, invariant as far as the frame makes it so.
    """
    network = sf.frame_average(
        _network(molecule, seed), frame, in_actions=sf.points, out_actions=None
    )
    first, second = np.array([spring[:2] for spring in molecule.springs]).T
    stiffness, length = np.array([spring[2:] for spring in molecule.springs]).T

    def energy(positions: Float[Array, "points 3"]) -> Float[Array, ""]:
        distances = jnp.linalg.norm(positions[first] - positions[second], axis=1)
        springs = jnp.sum(stiffness * (distances - length) ** 2) / 2
        return _AMPLITUDE * network(positions) + springs

    return energy


def _network(molecule: Molecule, seed: int) -> Energy:
    """A smooth function of a cloud with no symmetry but that of exchanging equal atoms."""
    generator = np.random.default_rng(seed)
    inward = generator.normal(size=(3, _WIDTH)) / _LENGTH
    species = np.array(molecule.numbers)[:, None] / 8 * generator.normal(size=(1, _WIDTH))
    biases = species + generator.normal(size=(1, _WIDTH))
    across = generator.normal(size=(_WIDTH, _WIDTH)) / np.sqrt(_WIDTH)
    outward = generator.normal(size=_WIDTH) / np.sqrt(_WIDTH)

    def network(positions: Float[Array, "points 3"]) -> Float[Array, ""]:
        features = jnp.sum(jnp.tanh(positions @ inward + biases), axis=0)
        return jnp.tanh(features @ across) @ outward

    return network
