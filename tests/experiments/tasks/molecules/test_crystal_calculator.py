import copy
import pickle

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress

from experiments.errors import UsageError
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from tests.helpers.local_crystal import crystal, network
from tests.helpers.pair_crystal import REACH, PairCrystal, pairs, skewed


@pytest.fixture(scope="module")
def calculator():
    return SymmetrizedCalculator.of(PairCrystal(skewed), 1.0, dtype="float64")


def numerical(atoms, step=1e-4):
    """Forces and stress by central differences."""
    forces, stress = np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for index in np.ndindex(forces.shape):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index] += sign * step
            energies.append(atoms.calc.get_potential_energy(moved))
        forces[index] = -(energies[0] - energies[1]) / (2 * step)
    for one, other in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[one, other] += sign * step / 2
            strain[other, one] += sign * step / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(atoms.calc.get_potential_energy(moved))
        stress[one, other] = (energies[0] - energies[1]) / (2 * step * atoms.get_volume())
    return forces, full_3x3_to_voigt_6_stress(stress)


@pytest.mark.parametrize("pbc", [True, (True, True, False), (False, False, True)])
def test_forces_and_stress_are_slopes_of_the_energy(calculator, pbc):
    atoms = crystal(calculator, pbc)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    slopes = numerical(atoms)
    # Differences of second order, of energies of some ten eV.
    np.testing.assert_allclose(forces, slopes[0], atol=1e-5)
    np.testing.assert_allclose(stress, slopes[1], atol=1e-5)
    assert np.abs(stress).min() > 1e-4
    full = full_3x3_to_voigt_6_stress(atoms.get_stress(voigt=False).T)
    np.testing.assert_allclose(stress, full)


def test_a_larger_cell_has_as_much_more_and_molecules_have_no_stress(calculator):
    atoms, twice = crystal(calculator), crystal(calculator).repeat((1, 1, 2))
    twice.calc = calculator
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    # Eleven more cells, wherever the atoms are written to be.
    twice.positions += [2, -11, 0] @ atoms.cell.array
    twice.positions[0] += [3, 0, 0] @ atoms.cell.array
    assert twice.get_potential_energy() == pytest.approx(2 * energy, rel=1e-12)
    np.testing.assert_allclose(twice.get_forces(), np.tile(forces, (2, 1)), atol=1e-11)
    np.testing.assert_allclose(twice.get_stress(), stress, atol=1e-12)
    alone = crystal(calculator, pbc=False)
    distance = alone.get_distance(0, 1)
    assert distance < REACH and alone.get_potential_energy() != pytest.approx(energy)
    with pytest.raises(PropertyNotImplementedError):
        alone.get_stress()
    flat = crystal(calculator, (True, True, False))
    flat.cell[2] = 0
    assert np.isfinite(flat.get_forces()).all() and "stress" not in flat.calc.results


def test_single_precision_knows_atoms_that_are_thousands_of_cells_apart():
    near, far = crystal(), crystal()
    far.positions[1] += [3000, -2000, 1000] @ far.cell.array
    forces = []
    for atoms in (near, far):
        atoms.calc = SymmetrizedCalculator.of(PairCrystal(), 1.0)
        forces.append(atoms.get_forces())
    np.testing.assert_allclose(forces[1], forces[0], atol=1e-3)
    assert np.spacing(np.float32(far.positions[1, 0])) > 1e-4


def test_one_program_serves_a_walk_and_a_change_of_the_cell_alone_is_noticed():
    potential = PairCrystal()
    atoms = crystal(SymmetrizedCalculator.of(potential, 1.0, dtype="float64"))
    fresh = SymmetrizedCalculator.of(PairCrystal(), 1.0, skin=0.0, dtype="float64")
    draw, energies = np.random.default_rng(0), []
    for _ in range(20):
        atoms.positions += 0.05 * draw.normal(size=(2, 3))
        atoms.set_cell(atoms.cell.array * 0.997, scale_atoms=True)
        energies.append(atoms.get_potential_energy())
        assert energies[-1] == pytest.approx(fresh.get_potential_energy(atoms), abs=1e-10)
    searches = atoms.calc._list.searches
    assert potential.traces == 1 and 1 < searches < 20
    atoms.set_cell(atoms.cell.array * 1.01)
    assert atoms.get_potential_energy() != energies[-1]
    assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(atoms))
    assert potential.traces == 1
    # One for each number of atoms and of slots, whichever come again.
    doubled = atoms.repeat((1, 1, 2))
    dense = atoms.copy()
    dense.set_cell(0.7 * atoms.cell.array, scale_atoms=True)
    traces = []
    for other in (doubled, atoms, dense, dense, atoms):
        atoms.calc.get_potential_energy(other)
        traces.append(potential.traces)
    assert traces == [2, 2, 3, 3, 3]


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING")  # spglib, of itself.
def test_relaxation_of_a_cell_ends_without_stress_and_keeps_the_space_group():
    spglib = pytest.importorskip("spglib")
    groups = {}
    for terms in ((), (skewed,)):
        atoms = bulk("Cu", "fcc", a=2.9, cubic=True)
        atoms.calc = SymmetrizedCalculator.of(PairCrystal(*terms), 1.0, dtype="float64")
        assert np.abs(atoms.get_stress()).max() > 1e-2
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-6, steps=100)
        assert np.abs(atoms.get_stress()).max() < 1e-6
        cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
        groups[len(terms)] = spglib.get_symmetry_dataset(cell, symprec=1e-5).number
    assert groups[0] == 225 != groups[1]


def test_what_has_no_crystal_energy_is_one_error(calculator):
    atoms = crystal(calculator)
    flat, none, unknown, met, image = (atoms.copy() for _ in range(5))
    flat.cell[2] = flat.cell[0] + flat.cell[1]
    none.cell[:] = 0
    unknown.numbers[0] = 6
    met.positions[1] = met.positions[0]
    image.positions[1] = image.positions[0] + image.cell[0]
    for bad, message in [
        (flat, "CuSi: the cell must have a volume"),
        (none, "CuSi: the cell must have a vector"),
        (unknown, "elements must be Si or Cu"),
        (met, "CuSi: atoms 1 and 2 must be at least"),
        (image, "CuSi: atoms 1 and 2 must be at least 0.05 Angstrom apart, also"),
    ]:
        with pytest.raises(UsageError, match=message):
            calculator.get_potential_energy(bad)
    vast = SymmetrizedCalculator(pairs, reach=1e6)
    with pytest.raises(UsageError, match="CuSi: neighbours must fit into memory"):
        vast.get_potential_energy(atoms)
    with pytest.raises(UsageError, match="neighbours must be left out with reach"):
        SymmetrizedCalculator(pairs, reach=3.0, neighbours=lambda: None)
    # Nothing is left behind.
    assert np.isfinite(calculator.get_potential_energy(atoms))


def test_copies_share_what_is_compiled_and_pickles_have_no_list():
    potential = PairCrystal()
    atoms = crystal(SymmetrizedCalculator.of(potential, 1.0))
    forces = atoms.get_forces()
    for copied in (copy.copy(atoms.calc), copy.deepcopy(atoms.calc)):
        copied.reset()
        np.testing.assert_array_equal(copied.get_forces(atoms), forces)
    assert potential.traces == 1
    other = pickle.loads(pickle.dumps(atoms.calc))
    other.reset()
    assert other._list.searches == 0
    np.testing.assert_array_equal(other.get_forces(atoms), forces)


def test_a_potential_over_local_frames_turns_with_the_crystal_as_a_network_alone_does_not():
    errors = {}
    for frame in ("local", "none"):
        calculator = network(frame)
        atoms, turned = crystal(calculator), crystal(calculator)
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
        turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
        stress = atoms.get_stress(voigt=False)
        found = (
            turned.get_potential_energy() - atoms.get_potential_energy(),
            turned.get_forces() - atoms.get_forces() @ turn.T,
            turned.get_stress(voigt=False) - turn @ stress @ turn.T,
        )
        errors[frame] = max(np.abs(error).max() for error in found) / np.abs(stress).max()
    assert errors["local"] < 1e-10 < 1e-3 < errors["none"]
