"""Predictions of periodic snapshots: together or alone, and what is wrong with one."""

import io

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from rich.console import Console

from experiments.errors import ExperimentError
from experiments.tasks.molecules import batches
from experiments.tasks.molecules.batches import Evaluator
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.crystal_batches import crystal_of, size_of, together
from experiments.tasks.molecules.predict import predict
from tests.helpers.pair_crystal import REACH, PairCrystal, skewed


def shaken(atoms: Atoms, seed: int) -> Atoms:
    draw = np.random.default_rng(seed)
    strain = np.eye(3) + 0.05 * draw.normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += 0.1 * draw.normal(size=atoms.positions.shape)
    return atoms


def crystals() -> list[Atoms]:
    """Cells of 1 to 4 atoms, a slab, and a molecule."""
    silicon = bulk("Si", "diamond", a=4.6)
    silicon.numbers[1] = 29
    kinds = [bulk("Cu", "fcc", a=3.2), silicon, bulk("Cu", "hcp", a=2.4), silicon.repeat((2, 1, 1))]
    found = [shaken(atoms, seed) for seed, atoms in enumerate([*kinds, *kinds])]
    found[1].pbc = True, True, False
    return [*found, Atoms("SiCu", [[0, 0, 0], [0, 0.3, 2.0]])]


def predicted(potential, tmp_path, structures, **options) -> tuple[list[Atoms], str]:
    text = io.StringIO()
    ase.io.write(tmp_path / "in.xyz", structures, format="extxyz")
    console = Console(file=text, width=40)
    predict(potential, 1.0, tmp_path / "in.xyz", tmp_path / "out.xyz", console, **options)
    return ase.io.read(tmp_path / "out.xyz", ":"), text.getvalue()


def test_energies_forces_and_stresses_are_those_of_the_calculator(tmp_path):
    potential = PairCrystal(skewed)
    found, said = predicted(potential, tmp_path, crystals(), dtype="float64")
    # One for each of three sizes of crystals, and one for molecules; twice as many as without shapes.
    assert potential.traces <= 6 and "9 of 9 snapshots" in said and "stresses" in said
    calculator = SymmetrizedCalculator.of(potential, 1.0, dtype="float64")
    for atoms in found:
        calculator.calculate(atoms)
        results = calculator.results
        assert atoms.get_potential_energy() == pytest.approx(results["energy"], abs=1e-8)
        # Of columns with eight decimals.
        np.testing.assert_allclose(atoms.get_forces(), results["forces"], atol=1e-7)
        assert ("stress" in atoms.calc.results) == ("stress" in results) == bool(atoms.pbc.any())
        if "stress" in results:
            np.testing.assert_allclose(atoms.get_stress(), results["stress"], atol=1e-8)
            assert np.abs(atoms.get_stress()).max() > 1e-3 and "cell_ignored" not in atoms.info


def test_each_size_of_atoms_and_slots_is_traced_once():
    potential = PairCrystal()
    evaluate = Evaluator(potential, 1.0, "float64")
    first, again = crystals()[:3], crystals()[4:7]
    sizes = {size_of(crystal_of("it", atoms, atoms.numbers, REACH)) for atoms in (*first, *again)}
    seen = []
    # The last is the only one of another size.
    for structures in (first, again, [first[0]] * 3, again, [crystals()[3]]):
        evaluate([("it", atoms) for atoms in structures])
        seen.append(potential.traces)
    assert len(sizes) == 3 and seen == [3, 3, 3, 3, 4]


def test_together_and_alone_are_the_same_and_without_the_cell_is_not(monkeypatch):
    named = [(f"number {index}", atoms) for index, atoms in enumerate(crystals()[:3])]
    one = Evaluator(PairCrystal(), 1.0, "float64")(named)
    monkeypatch.setattr(batches, "EDGES", 1)
    for whole, alone in zip(one, Evaluator(PairCrystal(), 1.0, "float64")(named), strict=True):
        assert whole.energy == pytest.approx(alone.energy, rel=1e-12)
        np.testing.assert_allclose(whole.forces, alone.forces, atol=1e-11)
        np.testing.assert_allclose(whole.stress, alone.stress, atol=1e-12)
        bare = Atoms(whole.atoms.numbers, whole.atoms.positions)
        [ignored] = Evaluator(PairCrystal(), 1.0, "float64")([("bare", bare)])
        assert ignored.stress is None and abs(ignored.energy - whole.energy) > 0.1


def test_a_snapshot_that_has_no_energy_costs_no_other(tmp_path):
    good = crystals()[:2]
    flat, unknown, met = good[1].copy(), good[1].copy(), good[1].copy()
    flat.pbc = True
    flat.cell[2] = flat.cell[0]
    unknown.numbers[0] = 6
    met.positions[1] = met.positions[0] + met.cell[0] + 1e-3
    with pytest.raises(ExperimentError) as caught:
        predicted(PairCrystal(), tmp_path, [good[0], flat, unknown, met, good[1]])
    message = str(caught.value)
    assert "3 of 5 snapshots" in message and "must have a volume" in message
    assert "must be Si or Cu" in message
    assert "atoms 1 and 2 must be at least 0.05 Angstrom apart, also" in message
    kept = ase.io.read(tmp_path / "out.xyz", ":")
    assert [atoms.info["source_snapshot"] for atoms in kept] == [1, 5]


def test_structures_of_like_sizes_share_a_program_and_padding_is_no_atom():
    cells = [bulk("Cu", "fcc", a=2.9).repeat((count, 1, 1)) for count in (9, 10)]
    ready = [crystal_of("it", atoms, np.ones(len(atoms), np.int32), REACH) for atoms in cells]
    assert size_of(ready[0]) == size_of(ready[1]) and size_of(ready[0])[0] == 10
    batch = together(ready, "float32")
    assert batch.positions.dtype == batch.surroundings.cell.dtype == np.float32
    own = np.arange(batch.species.shape[1])[:, None]
    seen = np.sum(batch.surroundings.senders != own, axis=2) + np.any(
        batch.surroundings.images, 3
    ).sum(2)
    np.testing.assert_array_equal(seen > 0, batch.species > 0)
