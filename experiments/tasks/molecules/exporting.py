"""From a trained potential to the programs that `exported` runs."""

import io
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, get_args

import jax
import numpy as np
from jax import export
from jaxtyping import Array, Float, Int, PyTree

from experiments.tasks.molecules.energies import EnergyAlone, Precision, enabled
from experiments.tasks.molecules.export_file import packed
from experiments.tasks.molecules.exported import WEIGHTS
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.potential import Potential
from experiments.tasks.molecules.surrounded_energy import SurroundedEnergy

PLATFORMS = ("cpu", "cuda", "tpu")
_UNITS = {
    "positions": "Angstrom",
    "energy": "eV",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3",
}


def exported_bytes(
    potential: Potential,
    params: PyTree[Array],
    *,
    dtypes: Sequence[Precision] = get_args(Precision),
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """What a file of a potential holds: its parameters, and a program for each precision.

    The numbers of atoms and of neighbours are symbols in the programs (`jax.export.symbolic_shape`),
    of frames of every kind and of committees. All potentials take `Surroundings`, those of global
    frames too, for whose neighbours they hold.

    Args:
      potential: the energy, its elements and references.
      params: its parameters.
      dtypes: of positions, and of the results.
      platforms: that a program can be compiled for.
    """
    weights, tree = jax.tree.flatten(jax.device_get(params))

    def program(
        weights: list[Array],
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        senders: Int[Array, "atoms slots"],
        images: Int[Array, "atoms slots 3"],
        cell: Float[Array, "3 3"],
    ) -> dict[str, Any]:
        energy = EnergyAlone(potential, jax.tree.unflatten(tree, weights))
        surroundings = Surroundings(senders, images, cell)
        found = SurroundedEnergy(energy, potential.room).program(positions, species, surroundings)
        # Containers that `jax.export` knows by itself.
        return {
            "energy": found.energy,
            "slope": found.slope,
            "others": found.others,
            "room": tuple(found.room),
            "stress": found.stress,
        }

    parts: dict[str, bytes] = {WEIGHTS: _stored(weights)}
    for dtype in dtypes:
        with enabled(dtype):
            inputs = _inputs(weights, dtype)
            made = export.export(jax.jit(program), platforms=platforms)(*inputs)
        parts[dtype] = bytes(made.serialize())
    head = {
        "units": _UNITS,
        "facts": potential.facts._asdict(),
        "model": potential.config.description,
        "reach": potential.reach,
        "cutoff": potential.config.cutoff,
        "dtypes": list(dtypes),
        "platforms": list(platforms),
        "jax": jax.__version__,
        "symjax_frames": version("symjax_frames"),
    }
    return packed(head, parts)


def _stored(arrays: list[np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, *arrays)
    return file.getvalue()


def _inputs(weights: list[np.ndarray], dtype: Precision) -> tuple[Any, ...]:
    """The shapes and dtypes of what a program takes."""
    atoms, slots = export.symbolic_shape("atoms, slots")
    described = jax.ShapeDtypeStruct
    return (
        [described(array.shape, array.dtype) for array in weights],
        described((atoms, 3), np.dtype(dtype)),
        described((atoms,), np.int32),
        described((atoms, slots), np.int32),
        described((atoms, slots, 3), np.int32),
        described((3, 3), np.dtype(dtype)),
    )
