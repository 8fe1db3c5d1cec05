"""A crystal, and untrained networks for it over local frames or without an average."""

import functools

import jax
import numpy as np
from ase import Atoms

from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.local_potential import make_potential
from tests.helpers.pair_crystal import REACH


def crystal(calculator=None, pbc=True) -> Atoms:
    """Two atoms in a skewed cell that is smaller than the reach."""
    cell = [[2.6, 0.2, 0], [-0.5, 3.0, 0.1], [0.3, 0.4, 3.3]]
    atoms = Atoms("SiCu", [[0, 0, 0], [1.3, 1.6, 1.7]], cell=cell, pbc=pbc)
    atoms.calc = calculator
    return atoms


@functools.cache
def network(frame: str) -> SymmetrizedCalculator:
    """A network for silicon and copper, in float64; to compile it takes seconds."""
    extra = {"vectors": 2, "max_elements": 12, "capacity": (4, 4)} if frame == "local" else {}
    config = MoleculesModelConfig(
        frame=frame, hidden=8, layers=1, radial=3, degree=1, cutoff=REACH, **extra
    )
    potential = make_potential(config, MoleculeFacts((14, 29), (0.0, 0.0), 1.0), "energy_forces")
    # In one program; outside of jit the initialisers are dozens.
    params = jax.tree.map(np.float64, jax.jit(potential.init)(jax.random.key(0)))
    return SymmetrizedCalculator.of(potential, params, dtype="float64")
