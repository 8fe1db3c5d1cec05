"""Exported potentials against those they were made of, on structures of several sizes."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from experiments.errors import UsageError
from experiments.frame_room import Room
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.export_file import packed, unpacked
from experiments.tasks.molecules.exported import ExportedPotential
from experiments.tasks.molecules.exporting import exported_bytes
from experiments.tasks.molecules.local_potential import make_potential
from tests.helpers.backbones import draw_params
from tests.helpers.hooks import unhooked

FACTS = MoleculeFacts((1, 6, 8), (-13.6, -1030.1, -2041.8), 1.0, ((0.0, 0.0, 0.0),))
SIZES = {"hidden": 6, "layers": 1, "radial": 2, "degree": 1, "cutoff": 2.5}


def both(frame, dtype, **options):
    """The calculators of a committee with generic parameters, and of the same exported."""
    config = MoleculesModelConfig(frame=frame, **SIZES, **options)
    potential = make_potential(config, FACTS, "energy_forces").committee()
    params = draw_params(potential.one(), dtype)
    params = jax.tree.map(lambda leaf: np.stack([leaf, leaf[::-1]]), params)
    potential.room = room_in_single_file
    with unhooked():
        content = exported_bytes(potential, params, dtypes=[dtype], platforms=["cpu"])
    exported = ExportedPotential("file", content)
    return (
        SymmetrizedCalculator.of(potential, params, dtype=dtype),
        SymmetrizedCalculator.of(exported, dtype=dtype),
    )


def room_in_single_file(positions, species, surroundings=None):
    """A frame that has no room for what is more than three Angstrom tall."""
    del species, surroundings
    tall = jnp.max(positions[:, 2]) - jnp.min(positions[:, 2]) > 3
    return Room(tall.astype(positions.dtype) / 4, jnp.array([7, 8, 9], jnp.int32))


def shaken(atoms: Atoms) -> Atoms:
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    return atoms


def assert_same(of_run, of_file, atoms, rtol):
    of_run.calculate(atoms)
    of_file.calculate(atoms)
    assert of_run.results.keys() == of_file.results.keys()
    for name, expected in of_run.results.items():
        error = np.abs(of_file.results[name] - expected).max()
        assert error <= rtol * np.abs(expected).max(), (atoms, name)


@pytest.fixture(scope="module")
def of_molecules():
    return both("quadrature", "float32", quadrature_degree=1)


def test_molecules_are_as_by_the_run_and_periodic_ones_refused(of_molecules):
    atoms = shaken(molecule("CO"))
    assert_same(*of_molecules, atoms, 1e-5)
    assert {"energy_spread", "energy_deviation"} <= of_molecules[1].results.keys()
    atoms.pbc, atoms.cell = True, 4 * np.eye(3)
    for calculator in of_molecules:
        with pytest.raises(UsageError, match="model.frame=local"):
            calculator.calculate(atoms)
        with pytest.raises(UsageError, match="the element N"):
            calculator.calculate(molecule("NH3"))


def test_crystals_are_as_by_the_run():
    calculators = both("none", "float64")
    assert_same(*calculators, shaken(bulk("C", "diamond", 3.0)), 1e-11)
    assert np.abs(calculators[1].results["stress"]).max() > 1e-3


def test_what_a_frame_has_no_room_for_is_refused_as_by_the_run(of_molecules):
    atoms, messages = shaken(molecule("CO")), []
    atoms.positions[0] += [0, 0, 4]
    for calculator in of_molecules:
        with pytest.raises(UsageError, match="25 % without room") as caught:
            calculator.calculate(atoms)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "max_elements must be at least 9" in messages[0]


def test_an_exported_potential_says_what_it_is_and_travels(of_molecules):
    potential = of_molecules[1]._evaluate
    assert (potential.reach, potential.cutoff) == (None, SIZES["cutoff"])
    assert potential.head["units"]["forces"] == "eV/Angstrom"
    assert potential.head["platforms"] == ["cpu"] and potential.head["jax"] == jax.__version__
    assert potential.facts == FACTS and potential.precisions == ["float32"]
    assert copy.deepcopy(potential) is potential
    other = pickle.loads(pickle.dumps(potential))
    assert other.head == potential.head
    with pytest.raises(UsageError, match="dtype must be one of float32, which file has"):
        SymmetrizedCalculator.of(other, dtype="float64").calculate(molecule("CO"))


def test_other_weights_are_another_potential(of_molecules):
    """What the comparisons above would not see, if programs held the parameters that were traced."""
    atoms = shaken(molecule("CO"))
    potential = copy.copy(of_molecules[1]._evaluate)
    energy = of_molecules[1].get_potential_energy(atoms)
    potential._weights = [1.1 * array for array in potential._weights]
    other = SymmetrizedCalculator.of(potential)
    assert abs(other.get_potential_energy(atoms) - energy) > 1e-3 * abs(
        energy - FACTS.reference([6, 8])
    )
    # Those of another run would otherwise be taken for used.
    with pytest.raises(UsageError, match="params must be left out with an exported potential"):
        SymmetrizedCalculator.of(potential, {"weight": np.ones(2)})


def test_programs_that_this_jax_cannot_read_are_said_to_be_that(of_molecules):
    head, parts = unpacked(*of_molecules[1]._evaluate.__reduce__()[1])
    del head["parts"]
    content = packed(head | {"jax": "9.9"}, parts | {"float32": b"of another time"})
    with pytest.raises(
        UsageError, match="^file: must hold programs that JAX .* got those of JAX 9.9"
    ):
        ExportedPotential("file", content)
