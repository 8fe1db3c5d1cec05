import copy
import functools
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from experiments.errors import UsageError
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.networks.basis import edge_basis, edge_vectors
from experiments.tasks.molecules.networks.neighbours import nearest_neighbours
from symjax_frames import nn
from tests.helpers.tiny_potential import TinyPotential, averaged, network, pairs

# ASE sets shapes of arrays in a way that NumPy advises against.


def water(calculator=None, **options) -> Atoms:
    atoms = molecule("H2O")
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.calc = calculator or SymmetrizedCalculator.of(TinyPotential(), 1.0, **options)
    return atoms


@pytest.fixture(scope="module")
def calculator():
    """Of the averaged network: compiled once for all tests of three atoms."""
    return SymmetrizedCalculator.of(TinyPotential(averaged), 1.0, dtype="float64")


@pytest.fixture(scope="module")
def alone():
    """Of the network without the average."""
    return SymmetrizedCalculator.of(TinyPotential(network), 1.0, dtype="float64")


@pytest.fixture
def atoms(calculator):
    return water(calculator)


@pytest.fixture
def relaxed(atoms):
    BFGS(atoms, logfile=None).run(fmax=1e-5, steps=200)
    return atoms


def moved(atoms: Atoms, key: jax.Array) -> tuple[Atoms, np.ndarray]:
    turn = np.linalg.qr(np.asarray(jax.random.normal(key, (3, 3))))[0]
    other = atoms.copy()
    other.positions = atoms.positions @ turn.T + np.array([1.0, -2, 3])
    other.calc = atoms.calc
    return other, turn


def test_forces_turn_with_the_molecule_as_those_of_the_network_alone_do_not(keys, atoms, alone):
    errors = []
    for still in (atoms, water(alone)):
        other, turn = moved(still, next(keys))
        scale = np.abs(still.get_forces()).max()
        errors.append(np.abs(other.get_forces() - still.get_forces() @ turn.T).max() / scale)
        errors.append(abs(other.get_potential_energy() - still.get_potential_energy()))
    # Rounding of sums over 4 elements of a network, and of its derivative.
    assert max(errors[:2]) < 1e-12 and min(errors[2:]) > 1e-2


def test_numbers_beside_an_energy_are_results_and_have_no_part_in_forces():
    def energy(positions, species):
        value = jnp.sum(jnp.sin(positions))
        return value, {"energy_spread": value**2, "largest": jnp.max(species)}

    results = []
    for function in (energy, lambda *args: energy(*args)[0]):
        atoms = water(SymmetrizedCalculator(function))
        atoms.get_forces()
        results.append(atoms.calc.results)
    beside, alone = results
    assert set(beside) - set(alone) == {"energy_spread", "largest"}
    assert (
        beside["energy_spread"] == pytest.approx(beside["energy"] ** 2) and beside["largest"] == 8
    )
    np.testing.assert_array_equal(beside["forces"], alone["forces"])


def test_forces_are_minus_the_slope_of_the_energy_and_nothing_pushes_or_turns(atoms, alone):
    step, forces = 1e-4, atoms.get_forces().copy()
    for index in np.ndindex(2, 3):
        ends = []
        for sign in (1, -1):
            other = atoms.copy()
            other.positions[index] += sign * step
            other.calc = atoms.calc
            ends.append(other.get_potential_energy())
        # The error of central differences is a third derivative times the square of the step.
        np.testing.assert_allclose((ends[1] - ends[0]) / (2 * step), forces[index], atol=1e-6)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(np.cross(atoms.positions, forces).sum(axis=0), 0, atol=1e-12)
    other = water(alone)
    assert np.abs(np.cross(other.positions, other.get_forces()).sum(axis=0)).max() > 1e-2


def test_a_number_of_atoms_is_compiled_once():
    potential = TinyPotential()
    calculator = SymmetrizedCalculator.of(potential, 1.0)
    for name in ("H2O", "HCN", "CO2", "H2O", "N2", "H2O", "CO"):
        for shift in (0.0, 0.1):
            atoms = molecule(name)
            atoms.positions[0] += shift
            atoms.calc = calculator
            atoms.get_forces()
            atoms.get_potential_energy()
    assert potential.traces == 2


def test_nothing_is_calculated_twice_and_everything_that_matters_again():
    atoms = water()
    calls = []
    compiled = atoms.calc._with_all_neighbours
    atoms.calc._with_all_neighbours = lambda *arguments: (calls.append(1), compiled(*arguments))[1]
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energy(force_consistent=True) == energy
    atoms.get_forces()
    atoms.set_initial_charges([1.0, 0, 0])
    atoms.set_momenta(np.ones((3, 3)))
    atoms.get_forces()
    assert len(calls) == 1
    atoms.positions[0, 0] += 0.1
    atoms.get_forces()
    atoms.numbers[0] = 7
    assert atoms.get_potential_energy() != energy
    assert len(calls) == 3
    atoms.pbc = True
    with pytest.raises(UsageError, match="periodic"):
        atoms.get_forces()


def test_references_and_places_far_away_cost_no_digits():
    near, far, big = water(), water(), water()
    far.calc = near.calc
    far.positions += 1e4
    big.calc = SymmetrizedCalculator.of(TinyPotential(offset=-1e7), 1.0)
    # The coordinates themselves are known to 1e-12 at 1e4 Angstrom; the rest is float32.
    np.testing.assert_allclose(far.get_forces(), near.get_forces(), atol=1e-5)
    added = big.get_potential_energy() - near.get_potential_energy()
    assert added == pytest.approx(-1e7, abs=1e-8)
    species = TinyPotential().species_of(near.numbers)
    slope = jax.jit(jax.grad(pairs))(jnp.asarray(far.positions, jnp.float32), species)
    assert np.abs(np.asarray(slope) + near.get_forces()).max() > 1e-3
    assert abs(float(np.float32(big.get_potential_energy())) - big.get_potential_energy()) > 0.1


def test_optimisation_ends_where_the_forces_vanish(relaxed, calculator):
    assert np.abs(relaxed.get_forces()).max() < 1e-5
    assert relaxed.get_potential_energy() < water(calculator).get_potential_energy() - 0.1


def test_turning_and_shifting_is_no_vibration_unless_the_network_is_alone(relaxed, alone, tmp_path):
    lowest = []
    for name, atoms in (("averaged", relaxed), ("alone", water(alone))):
        BFGS(atoms, logfile=None).run(fmax=1e-5, steps=200)
        vibrations = Vibrations(atoms, name=str(tmp_path / name), delta=0.001)
        vibrations.run()
        energies = np.sort(np.abs(vibrations.get_energies()))
        lowest.append(energies[5])
        assert energies[6:].min() > 0.01
    # In eV, the root of what shifts by 0.001 Angstrom leave of a curvature of zero.
    assert lowest[0] < 1e-3 < 2e-3 < lowest[1]


class Scaled(SymmetrizedCalculator):
    """Forces that are not minus the gradient."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["forces"] *= 1.05


def test_dynamics_conserves_energy_unless_forces_are_no_gradient(relaxed):
    swings = []
    start = relaxed.copy()
    start.set_velocities(0.02 * np.random.default_rng(0).normal(size=(3, 3)))
    Stationary(start)
    scaled = Scaled(pairs, dtype="float64")
    scaled._species_of = TinyPotential().species_of
    scaled._with_all_neighbours = relaxed.calc._with_all_neighbours
    for calculator, step in ((relaxed.calc, 0.5), (relaxed.calc, 0.25), (scaled, 0.25)):
        atoms = start.copy()
        atoms.calc = calculator
        energies = []
        motion = VelocityVerlet(atoms, timestep=step * units.fs)
        motion.attach(lambda kept=energies, moving=atoms: kept.append(moving.get_total_energy()))
        motion.run(round(30 / step))
        swings.append(np.ptp(energies))
    assert swings[0] / swings[1] == pytest.approx(4, rel=0.1)
    assert swings[2] > 5 * swings[1]


def test_a_thermostat_holds_the_temperature(relaxed):
    motion = Langevin(
        relaxed,
        0.5 * units.fs,
        temperature_K=300,
        friction=0.1 / units.fs,
        rng=np.random.default_rng(0),
        fixcm=False,
    )
    temperatures = []
    motion.attach(lambda: temperatures.append(relaxed.get_temperature()))
    motion.run(600)
    # Of 9 degrees of freedom and some 20 independent times: a standard deviation of 10 %.
    assert np.mean(temperatures[100:]) == pytest.approx(300, rel=0.3)


def test_an_energy_of_ones_own_needs_nothing_else():
    def energy(positions, numbers):
        charges = numbers.astype(positions.dtype)
        return jnp.sum(charges[:, None] * positions**2)

    atoms = Atoms("HC", [[0, 0, 1.0], [0, 0, -1.0]], calculator=SymmetrizedCalculator(energy))
    # About the mean of the atoms, whatever the function: the net force is zero.
    assert atoms.get_potential_energy() == pytest.approx(7, rel=1e-6)
    np.testing.assert_allclose(atoms.get_forces()[:, 2], [-7, 7], rtol=1e-6)


def test_a_single_atom_has_an_energy_and_no_force():
    potential = TinyPotential(averaged)
    atoms = Atoms("O", [[3.0, 2, 1]], calculator=SymmetrizedCalculator.of(potential, 1.0))
    # All directions are alike: both signs of the third axis, of a network at the origin.
    energy = float(jax.jit(network)(jnp.zeros((1, 3)), jnp.array([4]))) + potential.reference([8])
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-6)
    np.testing.assert_array_equal(np.abs(atoms.get_forces()), 0)


def test_what_cannot_be_calculated_is_one_error():
    calculator = SymmetrizedCalculator.of(TinyPotential(), 1.0)
    positions = [[0.0, 0, 0], [0, 0, 1]]
    for atoms, message in [
        (Atoms("HHe", positions), "element 2 was not trained on"),
        (Atoms("H2", positions, pbc=[True, False, False]), "atoms.pbc .*True, False, False"),
        (Atoms("H2", [positions[0], [0, np.nan, 0]]), "H2: the position of atom 2 .*nan"),
        (Atoms("H2", [[np.inf, 0, 0], positions[0]]), "H2: the position of atom 1"),
        (Atoms(), "at least one atom"),
    ]:
        atoms.calc = calculator
        with pytest.raises(UsageError, match=message):
            atoms.get_potential_energy()
    dipole = SymmetrizedCalculator(lambda positions, species: jnp.sum(positions, axis=0))
    with pytest.raises(UsageError, match=r"energy .*shape \(3,\)"):
        Atoms("H2", positions, calculator=dipole).get_forces()
    boxed = Atoms("H2", positions, cell=[9, 9, 9], calculator=calculator)
    assert np.isfinite(boxed.get_potential_energy())
    vanishing = SymmetrizedCalculator(lambda positions, species: jnp.log(-jnp.sum(positions**2)))
    with pytest.raises(CalculationFailed, match="H2 .*nan eV"):
        Atoms("H2", positions, calculator=vanishing).get_forces()


def test_copies_share_what_is_compiled_and_pickles_have_none_of_it():
    potential = TinyPotential()
    calculator = SymmetrizedCalculator.of(potential, 1.0)
    empty = pickle.dumps(calculator)
    atoms = water(calculator)
    forces = atoms.get_forces()
    for copied in (copy.copy(calculator), copy.deepcopy(calculator)):
        # Not what was calculated before, which is copied too.
        copied.reset()
        np.testing.assert_array_equal(water(copied).get_forces(), forces)
    assert potential.traces == 1
    other = pickle.loads(pickle.dumps(atoms))
    # The positions, the results and the names of classes: a program would be many times as much.
    assert len(pickle.dumps(calculator)) < len(empty) + 2000
    assert other.calc is not calculator
    other.calc.reset()
    np.testing.assert_array_equal(other.get_forces(), forces)
    other.positions[0, 0] += 0.1
    assert np.abs(other.get_forces() - forces).max() > 1e-2
    assert potential.traces == 1 == other.calc._evaluate._functions[0].potential.traces - 1


def test_a_calculator_of_a_function_that_cannot_be_pickled_says_which():
    def energy(positions, species):
        return jnp.sum(positions**2)

    assert pickle.loads(pickle.dumps(SymmetrizedCalculator(pairs)))._dtype == "float32"
    with pytest.raises((AttributeError, pickle.PicklingError), match="energy"):
        pickle.dumps(SymmetrizedCalculator(energy))


def test_arguments_of_another_kind_are_refused():
    for options, message in [
        ({"energy": 1.0}, "energy .*got 1.0"),
        ({"energy": pairs, "species_of": [1]}, r"species_of .*got \[1\]"),
        ({"energy": pairs, "reference": 0.0}, "reference .*got 0.0"),
        ({"energy": pairs, "dtype": "float16"}, "dtype .*'float32'.*'float64'.*got 'float16'"),
    ]:
        with pytest.raises(UsageError, match=message):
            SymmetrizedCalculator(**options)


def cluster(draw, spacing):
    """Twenty-seven hydrogen atoms on a shaken grid."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    return Atoms("H27", spacing * grid + draw.normal(size=(27, 3)) / 20)


def test_room_for_neighbours_grows_and_says_so(monkeypatch):
    """The energy is that of all pairs, before and after; with too little room it would not be."""
    monkeypatch.setattr("experiments.tasks.molecules.calculator._CAPACITY", 8)
    traces = []

    def energy(positions, species, graph=None):
        graph = nn.CompleteGraph(species > 0) if graph is None else graph
        traces.append(type(graph))
        vectors = edge_vectors(positions, graph)
        edges = edge_basis(vectors, cutoff=2.5, radial=2, degree=1)
        sums = graph.total(edges.features)
        return jnp.sum(jnp.sin(sums))

    draw = np.random.default_rng(0)
    neighbours = functools.partial(nearest_neighbours, cutoff=2.5)
    listed = SymmetrizedCalculator(energy, neighbours=neighbours, dtype="float64")
    whole = SymmetrizedCalculator(energy, dtype="float64")
    far, near = cluster(draw, 2.2), cluster(draw, 1.6)
    for atoms, grows in ((far, False), (near, True)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            forces = listed.get_forces(atoms)
            assert listed.get_potential_energy(atoms) == pytest.approx(
                whole.get_potential_energy(atoms), rel=1e-13
            )
        np.testing.assert_allclose(forces, whole.get_forces(atoms), atol=1e-12)
        said = [str(warning.message) for warning in said if "neighbours" in str(warning.message)]
        assert len(said) == grows
    assert traces.count(nn.EdgeList) == 2
    short_list = jax.jit(functools.partial(neighbours, capacity=8))
    graph, needed = short_list(jnp.asarray(near.positions), jnp.ones(27, jnp.int32))
    assert 8 < needed < 26
    assert f"has {needed} neighbours and there was room for 8" in said[0]
    short = jax.jit(energy)(jnp.asarray(near.positions), jnp.ones(27, jnp.int32), graph)
    assert abs(short - whole.get_potential_energy(near)) > 1e-3


def test_numbers_beside_an_energy_are_results_and_hide_none_that_ase_knows():
    def atoms_with(returned):
        energy = lambda positions, species: returned(jnp.sum(positions**2))
        return Atoms("H2", [[0, 0, 0], [0, 0, 1.0]], calculator=SymmetrizedCalculator(energy))

    atoms = atoms_with(lambda value: (value, {"energy_spread": 2 * value}))
    known = atoms.get_properties(["energy", "forces"])
    assert atoms.calc.results["energy_spread"] == 2 * known["energy"] == 1
    np.testing.assert_array_equal(known["forces"], atoms.get_forces())
    assert "energy_spread" not in known
    refused = {
        "got 'energy' of shape": lambda value: (value, {"energy": value}),
        r"got 'charges' of shape \(2,\)": lambda value: (
            value,
            {"charges": jnp.stack([value, value])},
        ),
        "a tuple of length 3": lambda value: (value, {}, value),
        "a tuple of length 2": lambda value: (value, value),
        "a list of length 2": lambda value: [value, {}],
    }
    for message, returned in refused.items():
        with pytest.raises(UsageError, match=message):
            atoms_with(returned).get_potential_energy()
