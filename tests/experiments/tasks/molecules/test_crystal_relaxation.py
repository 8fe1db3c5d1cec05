"""Relaxation of many crystals with their cells: as ASE does it one by one, on lists that hold."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules import cell_descent, crystal_relaxation
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.crystal_relaxation import CrystalRelaxation
from tests.helpers.pair_crystal import PairCrystal, skewed
from tests.helpers.tiny_potential import TinyPotential

FORCE = 1e-5


def shaken(atoms: Atoms, stretch: float, size: float = 0.05) -> Atoms:
    atoms = atoms.copy()
    draw = np.random.default_rng(0)
    atoms.set_cell(atoms.cell.array @ (stretch * np.eye(3)), scale_atoms=True)
    atoms.positions += size * draw.normal(size=atoms.positions.shape)
    return atoms


def structures() -> dict[str, Atoms]:
    """Four atoms each: a dense crystal with atoms cells away, an alloy, and a slab."""
    copper = bulk("Cu", a=2.9, cubic=True)
    dense, alloy, slab = (shaken(copper, stretch) for stretch in (0.97, 1.0, 1.0))
    dense.positions[1] += [3, -2, 1] @ dense.cell.array
    alloy.numbers[:2] = 14
    slab.pbc = True, True, False
    return {"dense": dense, "alloy": alloy, "slab": slab}


@pytest.fixture(scope="module")
def relaxation():
    return CrystalRelaxation(PairCrystal(), 1.0, force_tolerance=FORCE, skin=0.3, dtype="float64")


@pytest.fixture(scope="module")
def relaxed(relaxation):
    named = structures()
    return dict(zip(named, relaxation(list(named.items())), strict=True))


def test_crystals_come_to_rest_where_those_of_ase_do(relaxed, relaxation):
    calculator = SymmetrizedCalculator.of(PairCrystal(), 1.0, dtype="float64")
    for name, atoms in structures().items():
        found = relaxed[name]
        assert found.converged and found.steps > 3 and found.max_force <= FORCE
        there = found.atoms.copy()
        calculator.reset()
        there.calc = calculator
        assert there.get_potential_energy() == pytest.approx(found.energy, abs=1e-9)
        assert np.linalg.norm(there.get_forces(), axis=1).max() <= FORCE * 1.001
        assert np.abs(there.cell[:2] - atoms.cell[:2]).max() > 0.02
        # Of a slab none is left across it either, as no force is.
        work = there.get_volume() * there.get_stress(voigt=False)
        assert np.abs(work).max() < 2 * FORCE * len(atoms)
    slab = relaxed["slab"].atoms.cell[2]
    np.testing.assert_array_equal(slab, structures()["slab"].cell[2])
    start = structures()["dense"]
    start.calc = calculator
    assert BFGS(FrechetCellFilter(start), logfile=None).run(fmax=FORCE, steps=100)
    found = relaxed["dense"]
    assert found.energy == pytest.approx(start.get_potential_energy(), abs=1e-8)
    assert found.atoms.get_volume() == pytest.approx(start.get_volume(), rel=1e-5)


def test_atoms_stay_those_images_that_they_were(relaxed):
    for name, atoms in structures().items():
        moved = relaxed[name].atoms.get_scaled_positions(wrap=False)
        assert np.abs(moved - atoms.get_scaled_positions(wrap=False)).max() < 0.3


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING")  # spglib, of itself.
def test_space_groups_are_kept_unless_the_energy_has_an_axis(relaxation):
    spglib = pytest.importorskip("spglib")
    skew = CrystalRelaxation(PairCrystal(skewed), 1.0, force_tolerance=FORCE, dtype="float64")
    groups = []
    for one in (relaxation, skew):
        [found] = one([("it", shaken(bulk("Cu", a=2.9, cubic=True), 0.95, 0.0))])
        assert found.converged
        atoms = found.atoms
        cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
        groups.append(spglib.get_symmetry_dataset(cell, symprec=1e-5).number)
    assert groups[0] == 225 != groups[1]


def test_lists_are_made_again_as_often_as_it_takes_and_have_room(monkeypatch):
    """A dilated crystal ends with more neighbours than it had."""
    made = []

    def counted(*arguments, **options):
        table = neighbour_table(*arguments, **options)
        made.append(table[0].shape[1])
        return table

    neighbour_table = crystal_relaxation.neighbour_table
    monkeypatch.setattr(crystal_relaxation, "neighbour_table", counted)
    potential = PairCrystal()
    options = {"force_tolerance": FORCE, "skin": 0.05, "dtype": "float64"}
    start = bulk("Cu", a=3.2)
    [found] = CrystalRelaxation(potential, 1.0, **options)([("it", start)])
    fresh = SymmetrizedCalculator.of(PairCrystal(), 1.0, dtype="float64")
    assert found.converged
    assert fresh.get_potential_energy(found.atoms) == pytest.approx(found.energy, abs=1e-9)
    assert len(made) > 2 and max(made) > 1.3 * made[0] and potential.traces > 1
    # The control: without new lists it ends elsewhere.
    always = lambda places, *_: jnp.ones(len(places.positions), bool)
    for module in (crystal_relaxation, cell_descent):
        monkeypatch.setattr(module, "holds", always)
    [wrong] = CrystalRelaxation(PairCrystal(), 1.0, **options)([("it", start)])
    assert abs(fresh.get_potential_energy(wrong.atoms) - wrong.energy) > 1e-3


def test_what_is_wrong_with_one_costs_no_other(relaxation, relaxed):
    named = structures()
    alloy = named["alloy"]
    flat, unknown, met, lost, held, none = (alloy.copy() for _ in range(6))
    flat.cell[2] = flat.cell[0] + flat.cell[1]
    unknown.numbers[0] = 6
    met.positions[1] = met.positions[0]
    lost.positions[1] = np.nan
    held.set_constraint(FixAtoms([0]))
    none.cell[:] = 0
    bad = {
        "the cell must have a volume": flat,
        "elements must be Si or Cu": unknown,
        "atoms 1 and 2 must be at least": met,
        "position of atom 2 must be finite": lost,
        "constraints must be none, got FixAtoms": held,
        "the cell must have a vector": none,
    }
    asked = [*bad.items(), *named.items()]
    found = relaxation([(f"{label} {number}", one) for number, (label, one) in enumerate(asked)])
    for number, (message, _) in enumerate(bad.items()):
        assert isinstance(found[number], DataError)
        assert message in str(found[number]).removeprefix(f"{message} {number}")
    for name, one in zip(named, found[len(bad) :], strict=True):
        assert one.energy == pytest.approx(relaxed[name].energy, rel=1e-12)


def test_a_cell_that_falls_together_is_one_error(monkeypatch, relaxation, relaxed):
    monkeypatch.setattr(crystal_relaxation, "_LEAST_VOLUME", 0.9)
    dilated = shaken(bulk("Cu", a=2.9, cubic=True), 1.06)
    fallen, alloy = relaxation([("fallen", dilated), ("alloy", structures()["alloy"])])
    assert isinstance(fallen, DataError)
    assert str(fallen).startswith("fallen: the cell must keep 0.9 of its volume")
    assert alloy.energy == pytest.approx(relaxed["alloy"].energy, rel=1e-12)


def test_a_cell_can_stay(monkeypatch, relaxation, relaxed):
    monkeypatch.setattr(relaxation, "_cell", False)
    start = structures()["alloy"]
    [found] = relaxation([("it", start)])
    np.testing.assert_array_equal(found.atoms.cell.array, start.cell.array)
    assert found.converged and found.energy > relaxed["alloy"].energy + 1e-3


def test_options_of_another_kind_are_refused():
    for options, message in [
        ({"force_tolerance": 0.0}, "force_tolerance .*got 0"),
        ({"max_step": -1.0}, "max_step .*got -1"),
        ({"skin": 0.0}, "skin .*got 0"),
        ({"max_steps": -1}, "max_steps .*got -1"),
    ]:
        with pytest.raises(UsageError, match=message):
            CrystalRelaxation(PairCrystal(), 1.0, **options)
    with pytest.raises(UsageError, match="potential must be one of crystals"):
        CrystalRelaxation(TinyPotential(), 1.0)
