"""What a file says of a snapshot is there beside what was predicted of it."""

import io

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength, FixCartesian

from experiments.data.npz import DataError
from experiments.tasks.molecules import predicted_snapshot
from experiments.tasks.molecules.batches import Labelled
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.predicted_snapshot import as_extended_xyz

FORCES = np.arange(9.0).reshape(3, 3)
INFO = {
    "name": "x y",
    "REF_energy": -1.25,
    "steps": [1, 2, 3],
    "matrix": np.arange(9.0).reshape(3, 3),
    "nine": np.arange(9.0),
    "nested": {"a": [1, {"b": "c"}]},
    "flags": np.array([True, False]),
    "converged": True,
}
COLUMNS = {
    "kind": np.array(["OW", "HW", "HW"]),
    "rigid": np.array([True, False, True]),
    "REF_forces": FORCES / 8,
    "group_number": np.array([1, 2, 2], np.uint8),
}
LOST = {
    "words": np.array(["a", "b c", "d"]),
    "cube": np.zeros((3, 3, 3)),
    "holes": np.array([1.0, np.nan, 0]),
    "a b": np.ones(3),
    "pair1": np.ones(3),
    "pos": np.ones(3),
}


def snapshot():
    atoms = molecule("H2O")
    atoms.set_tags([1, 2, 3])
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    atoms.set_masses([16.0, 2, 1])
    atoms.arrays |= COLUMNS
    atoms.info = dict(INFO)
    atoms.cell, atoms.pbc = [9, 8, 7], [True, True, False]
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=-5.0,
        forces=np.ones((3, 3)),
        stress=np.ones(6),
        charges=[-0.7, 0.3, 0.4],
        magmoms=[0.0, 1, 2],
        dipole=[0.0, 0, 1],
    )
    return atoms


def written(atoms, stress=None):
    return as_extended_xyz(7, Labelled(atoms, -1.5, FORCES, stress), cell_ignored=stress is None)


def read(text):
    return ase.io.read(io.StringIO(text), format="extxyz")


def test_columns_info_cell_and_other_results_are_those_of_the_file():
    atoms = snapshot()
    found = written(atoms)
    back = read(found.text)
    for name in ("numbers", "positions", "tags", "initial_charges", "masses", *COLUMNS):
        np.testing.assert_array_equal(back.arrays[name], atoms.arrays[name], err_msg=name)
    assert back.info.keys() == {*INFO, "source_snapshot", "cell_ignored"}
    for name, value in INFO.items():
        np.testing.assert_array_equal(back.info[name], value, err_msg=name)
    np.testing.assert_array_equal(back.cell, atoms.cell)
    assert back.pbc.tolist() == [True, True, False]
    results = back.calc.results
    for name in ("charges", "magmoms", "dipole"):
        np.testing.assert_array_equal(results[name], atoms.calc.results[name])
    assert results.keys() == {"energy", "forces", "charges", "magmoms", "dipole"}
    assert results["energy"] == -1.5 and back.info["source_snapshot"] == 7
    np.testing.assert_array_equal(results["forces"], FORCES)
    assert set(found.replaced) == {"energy", "forces", "stress"} and found.lost == ()
    # What was written is what is written of it again.
    again = written(back)
    twice = read(again.text)
    for one, other in ((twice.arrays, back.arrays), (twice.info, back.info)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert set(again.replaced) == {"energy", "forces", "source_snapshot", "cell_ignored"}


@pytest.mark.filterwarnings("ignore:.*is periodic")
def test_what_is_written_is_read_for_training_too(tmp_path):
    (tmp_path / "out.xyz").write_text(2 * written(snapshot()).text.replace("0.119262", "0.12"))
    with pytest.warns(UserWarning, match="such copies"):
        molecules = read_molecules(
            tmp_path / "out.xyz", forces_key="REF_forces", energy_key="REF_energy"
        )
    np.testing.assert_array_equal(molecules.energies, [-1.25, -1.25])
    np.testing.assert_array_equal(molecules.forces[0], FORCES / 8)


def test_what_the_format_cannot_hold_is_named_and_harms_nothing_else():
    atoms = snapshot()
    atoms.arrays |= LOST | {"pair": np.ones((3, 2)), "small": np.array([2e-9, 1e-9, 0])}
    atoms.info |= {"nothing": None, "text": "a\nb", 3: 4, "energy_unit": "kcal/mol", "energies": 1}
    atoms.set_constraint([FixBondLength(0, 1), FixAtoms([2])])
    found = written(atoms)
    assert set(found.lost) == {
        *(LOST.keys() - {"pair1"}),
        "pair",
        "small (what is below 1e-8)",
        *("nothing", "text", 3, "FixBondLengths"),
    }
    assert {"energy_unit", "energies"} <= set(found.replaced)
    back = read(found.text)
    assert back.calc.results["energy"] == -1.5
    np.testing.assert_array_equal(back.calc.results["forces"], FORCES)
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(back.arrays[name], column)
    assert not {*map(str, LOST), "pair"} & back.arrays.keys() - {"pair1"}
    assert back.constraints[0].index.tolist() == [2]


def test_entries_that_declare_other_units_than_those_of_predictions_are_left_out(monkeypatch):
    def declared(where, info, units, read):
        if info.get("note") == "kcal/mol" or {"in", "kcal"} <= info.keys():
            raise DataError("units")

    monkeypatch.setattr(predicted_snapshot, "check_declared", declared)
    atoms = snapshot()
    atoms.info = {"note": "kcal/mol", "E": True, "in": True, "kcal": True, "name": "one"}
    found = written(atoms)
    assert {"note", "in", "kcal"} <= set(found.replaced)
    assert read(found.text).info.keys() == {"name", "source_snapshot", "cell_ignored"}
    del atoms.info["in"], atoms.info["note"]
    assert {"E", "kcal", "name"} <= read(written(atoms).text).info.keys()


@pytest.mark.parametrize("fixed", [FixAtoms([0, 2]), FixCartesian(1, [True, False, True])])
def test_fixed_atoms_stay_fixed_and_their_forces_are_whole(fixed):
    atoms = snapshot()
    atoms.set_constraint(fixed)
    found = written(atoms)
    back = read(found.text)
    assert found.lost == ()
    np.testing.assert_array_equal(back.calc.results["forces"], FORCES)
    np.testing.assert_array_equal(unfixed(back), unfixed(atoms))
    assert unfixed(atoms).sum() < 9 == unfixed(snapshot()).sum()


def unfixed(atoms):
    forces = np.ones((3, 3))
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, forces)
    return forces


def test_one_atom_has_columns_too():
    atoms = molecule("O")
    atoms.arrays = {"numbers": atoms.numbers, "positions": atoms.positions}
    atoms.arrays |= {"vector": np.array([[1.0, 2, 3]]), "one": np.array([[2.5]])}
    back = read(as_extended_xyz(1, Labelled(atoms, 0.5, np.zeros((1, 3)))).text)
    np.testing.assert_array_equal(back.arrays["vector"], [[1, 2, 3]])
    np.testing.assert_array_equal(back.arrays["one"], [2.5])
