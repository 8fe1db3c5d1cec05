"""Forces and stresses: the derivatives of an energy by positions and by a strain of the cell."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.neighbour_table import EXACT, Surroundings


class Derivatives(NamedTuple):
    r"""What an energy says of periodic structures.

    Attributes:
      energy: in eV.
      forces: in eV/Angstrom, minus the gradient by positions.
      stress: in eV/Angstrom$^3$, $\frac1V \partial E(x (1 + \epsilon), h (1 + \epsilon)) / \partial
        \epsilon$ at $\epsilon = 0$ with a symmetric strain $\epsilon$ and the cell $h$, as ASE has
        it: a stretched cell has a positive one. Zero where the cell has no volume.
      others: numbers beside the energy, by their names.
    """

    energy: Float[Array, " structures"]
    forces: Float[Array, "structures atoms 3"]
    stress: Float[Array, "structures 3 3"]
    others: dict[str, Array]


def volumes(cells: Float[Array, "*structures 3 3"]) -> Float[Array, "*structures"]:
    """The volumes of cells in Angstrom^3, of left-handed ones too."""
    return jnp.abs(jnp.sum(cells[..., 0, :] * jnp.cross(cells[..., 1, :], cells[..., 2, :]), -1))


class Slopes(NamedTuple):
    """How an energy of periodic structures changes.

    Attributes:
      energy: in eV.
      gradient: by positions, in eV/Angstrom.
      strain: by a symmetric strain of positions and cell, in eV: the volume times the stress.
      others: numbers beside the energy, by their names.
    """

    energy: Float[Array, " structures"]
    gradient: Float[Array, "structures atoms 3"]
    strain: Float[Array, "structures 3 3"]
    others: dict[str, Array]


def slopes_of(
    energies: Callable[..., tuple[Float[Array, " structures"], dict[str, Array]]],
) -> Callable[..., Slopes]:
    """`(positions, species, surroundings)` of a batch to energies and how they change.

    Args:
      energies: of the same, to energies and a dictionary. No structure of a batch has a part in the
        energy of another one, so that one gradient is that of all.
    """

    def total(
        positions: Array, strains: Array, species: Array, surroundings: Surroundings
    ) -> tuple[Array, Any]:
        turned = jnp.swapaxes(strains, -1, -2)
        deformed = jnp.eye(3, dtype=strains.dtype)[None] + (strains + turned) / 2
        cells, moved = (
            jnp.matmul(vectors, deformed, precision=EXACT)
            for vectors in (surroundings.cell, positions)
        )
        values, others = energies(moved, species, surroundings._replace(cell=cells))
        return jnp.sum(values), (values, others)

    def found(
        positions: Float[Array, "structures atoms 3"],
        species: Int[Array, "structures atoms"],
        surroundings: Surroundings,
    ) -> Slopes:
        cells = surroundings.cell.astype(positions.dtype)
        surroundings = surroundings._replace(cell=cells)
        (gradient, strain), (values, others) = jax.grad(total, argnums=(0, 1), has_aux=True)(
            positions, jnp.zeros_like(cells), species, surroundings
        )
        return Slopes(values, gradient, strain, others)

    return found


def derivatives_of(
    energies: Callable[..., tuple[Float[Array, " structures"], dict[str, Array]]],
) -> Callable[..., Derivatives]:
    """`(positions, species, surroundings)` of a batch to energies, forces and stresses.

    Args:
      energies: as in `slopes_of`.
    """
    slopes = slopes_of(energies)

    def found(
        positions: Float[Array, "structures atoms 3"],
        species: Int[Array, "structures atoms"],
        surroundings: Surroundings,
    ) -> Derivatives:
        values, gradient, strain, others = slopes(positions, species, surroundings)
        volume = volumes(surroundings.cell.astype(positions.dtype))[:, None, None]
        stress = jnp.where(volume > 0, strain / jnp.where(volume > 0, volume, 1), 0)
        return Derivatives(values, -gradient, stress, others)

    return found
