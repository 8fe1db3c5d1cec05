"""What has no energy is refused alike where it is read, predicted and calculated."""

import re
import tracemalloc
import warnings

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.frame_room import Room
from experiments.tasks.molecules.batches import Evaluator
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.data import coincident
from experiments.tasks.molecules.data.coincident import refuse_coincident
from experiments.tasks.molecules.data.read import read_molecules
from tests.helpers.tiny_potential import TinyPotential


def changed(**arrays) -> Atoms:
    atoms = molecule("H2O")
    for name, (index, value) in arrays.items():
        atoms.arrays[name][index] = value
    return atoms


def declared() -> Atoms:
    atoms = molecule("H2O")
    atoms.info["pos_unit"] = "bohr"
    return atoms


REFUSED = {
    "no atom": (Atoms(), "at least 1 .*of at least one atom"),
    "no element": (changed(numbers=(0, 0)), r"at least 1 .*\[0, 1, 1\]"),
    "a number above 118": (changed(numbers=(2, 119)), r"118, .*\[8, 1, 119\]"),
    "nan": (changed(positions=((1, 2), np.nan)), "atom 2 .*nan"),
    "infinity": (changed(positions=(0, np.inf)), "atom 1 .*inf"),
    "two atoms at one point": (changed(positions=(2, [0, 0.763239, -0.477])), "atoms 2 and 3"),
    "another unit": (declared(), "pos_unit = bohr"),
    "an unknown element": (changed(numbers=(0, 9)), "element 9 was not trained on"),
}
# ASE writes files with the first, and reading a file for training learns the last.
UNREAD = {"no atom", "an unknown element"}


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(TinyPotential(), 1.0)


@pytest.fixture(scope="module")
def calculator():
    return SymmetrizedCalculator.of(TinyPotential(), 1.0)


@pytest.mark.parametrize("name", REFUSED)
def test_reading_prediction_and_calculator_refuse_the_same(name, evaluator, calculator, tmp_path):
    atoms, message = REFUSED[name]
    if name not in UNREAD:
        ase.io.write(tmp_path / "in.traj", atoms)
        with pytest.raises(DataError, match="snapshot 1: "):
            read_molecules(tmp_path / "in.traj", need=())
    (found,) = evaluator([("it", atoms)])
    assert isinstance(found, DataError) and re.search(f"^it: .*{message}", str(found))
    with pytest.raises(UsageError, match=message):
        calculator.get_potential_energy(atoms)


def test_what_is_fine_is_refused_nowhere(evaluator, calculator, tmp_path):
    atoms = molecule("H2O")
    atoms.info["pos_unit"] = "angstrom"
    ase.io.write(tmp_path / "in.traj", atoms)
    assert len(read_molecules(tmp_path / "in.traj", need=()).species) == 1
    (found,) = evaluator([("it", atoms)])
    assert found.energy == pytest.approx(calculator.get_potential_energy(atoms), rel=1e-6)


class Leaky(TinyPotential):
    """Loses weight of its frame where the first two atoms are near each other."""

    def room(self, positions, species):
        del species
        near = jnp.linalg.norm(positions[0] - positions[1]) < 0.9
        dropped = jnp.where(near, 0.25, 1e-4).astype(positions.dtype)
        return Room(dropped, jnp.array([3, 14, 159]))


def test_a_frame_that_lost_weight_makes_no_energy():
    near, far = changed(positions=(1, [0, 0, 0.9])), molecule("H2O")
    potential = Leaky()
    lost, kept = Evaluator(potential, 1.0)([("near", near), ("far", far)])
    assert isinstance(lost, DataError) and "near: its frame" in str(lost)
    assert re.search(r"25 % .*model.max_elements .*159 .*model.capacity .*\[3, 14\]", str(lost))
    calculator = SymmetrizedCalculator.of(potential, 1.0)
    assert kept.energy == pytest.approx(calculator.get_potential_energy(far), rel=1e-6)
    with pytest.raises(UsageError, match="H2O: its frame .*25 %"):
        calculator.get_potential_energy(near)


def verdict(numbers, positions) -> str:
    try:
        refuse_coincident(numbers, positions, [f"{n}" for n in range(len(numbers))])
    except DataError as error:
        return str(error)
    return ""


def test_trees_find_the_close_pairs_that_all_pairs_find(monkeypatch):
    draw = np.random.default_rng(0)
    found = 0
    for _ in range(40):
        positions = 3 * draw.normal(size=(3, 20, 3))
        numbers = np.where(np.arange(20) < draw.integers(12, 21, size=(3, 1)), 6, 0)
        one, other = draw.choice(20, size=2, replace=False)
        # Two atoms, or three with an exact copy; some are padding, and some far enough apart.
        direction = draw.normal(size=3)
        direction *= draw.choice([0.049, 0.051]) / np.linalg.norm(direction)
        positions[draw.integers(3), one] = positions[draw.integers(3), other] + direction
        positions[2, other] = positions[2, one] = positions[2, 0]
        with monkeypatch.context() as patch:
            pairs = verdict(numbers, positions)
            patch.setattr(coincident, "_FEW", 0)
            patch.setattr(coincident, "_ATOMS_AT_A_TIME", 3)
            trees = verdict(numbers, positions)
        # Of several pairs of a molecule either may be named.
        assert trees.partition(":")[0] == pairs.partition(":")[0], (pairs, trees)
        for message in filter(None, (pairs, trees)):
            first, second = map(int, re.findall(r"atoms (\d+) and (\d+)", message)[0])
            assert first < second
        found += bool(pairs)
    assert 10 < found


@pytest.mark.parametrize("last", [3.0, 0.02, 0.0])
def test_the_check_of_a_large_molecule_takes_little_memory(last):
    """All pairs of these atoms have 17 GB of distances."""
    positions = 3.0 * np.stack(np.unravel_index(np.arange(20_000), (28, 28, 28)), axis=-1)
    positions[-1] = positions[-2] + np.array([last, 0, 0])
    numbers = np.ones((1, 20_000), np.int32)
    tracemalloc.start()
    try:
        found = verdict(numbers, positions[None])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6
    assert ("atoms 19999 and 20000" in found) == (last < 0.05)


def test_atoms_at_one_point_and_infinitely_far_apart_are_no_harder():
    everything = verdict(np.ones((1, 5000), int), np.zeros((1, 5000, 3)))
    assert re.search("atoms 1 and [2-9].* must be at least 0.05 Angstrom apart, got 0 ", everything)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = 1e300 * np.random.default_rng(0).normal(size=(1, 60, 3))
        assert verdict(np.ones((1, 60), int), far) == ""
