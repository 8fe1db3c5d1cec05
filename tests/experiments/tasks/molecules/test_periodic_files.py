"""Cells, stresses and virials of files: as they were written, whatever order and unit they have."""

import io
import re

import ase.io
import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.examples import Part, make_examples
from experiments.tasks.molecules.data.molecules import Molecules
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.data.stream import stream_snapshots
from experiments.tasks.molecules.data.stresses import as_matrices, places_of
from experiments.tasks.molecules.data_config import MoleculesDataConfig
from tests.helpers.paths import SHARED

VASP, LAMMPS = "xx yy zz xy yz xz", "xx yy zz xy xz yz"
NEED = ("energies", "forces", "stresses")


def crystals(count: int = 3) -> list[Atoms]:
    """Sheared cells of one and two atoms with the energies, forces and stresses of EMT."""
    draw, found = np.random.default_rng(0), []
    for index in range(count):
        atoms = bulk("Cu", cubic=False).repeat((1 + index % 2, 1, 1))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.05 * draw.normal(size=(3, 3))), True)
        atoms.positions += 0.1 * draw.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces")}
        atoms.calc = SinglePointCalculator(atoms, **results, stress=atoms.get_stress())
        found.append(atoms)
    return found


def six(matrices: np.ndarray, order: str) -> np.ndarray:
    return np.stack([matrices[:, "xyz".find(a), "xyz".find(b)] for a, b in order.split()], axis=1)


def packed(**changed) -> dict[str, np.ndarray]:
    """The crystals as arrays of all atoms, in the layout of mlearn."""
    snapshots = crystals()
    stress = np.array([snapshot.get_stress(voigt=False) for snapshot in snapshots])
    volume = np.array([snapshot.get_volume() for snapshot in snapshots])
    arrays = {
        "z": np.array(29),
        "num_atoms_train": np.array([len(snapshot) for snapshot in snapshots]),
        "cell_train": np.array([snapshot.cell.array for snapshot in snapshots]),
        "R_train": np.concatenate([snapshot.positions for snapshot in snapshots]),
        "F_train": np.concatenate([snapshot.get_forces() for snapshot in snapshots]),
        "E_train": np.array([snapshot.get_potential_energy() for snapshot in snapshots]),
        "virial_train": six(-stress * volume[:, None, None], VASP),
        "pressure_train": six(-stress / ase.units.GPa * 10, LAMMPS),
        "stress_train": stress,
    }
    return arrays | changed


def assert_crystals(read: Molecules, digits: float = 1e-12) -> None:
    for index, snapshot in enumerate(crystals()):
        own = slice(len(snapshot))
        received = [read.cells[index], read.positions[index, own], read.forces[index, own]]
        wanted = [snapshot.cell.array, snapshot.positions, snapshot.get_forces()]
        wanted.append(snapshot.get_stress(voigt=False))
        for one, other in zip([*received, read.stresses[index]], wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=digits)
    assert read.pbc.tolist() == [[True] * 3] * 3
    assert read.species.tolist() == [[29, 0], [29, 29], [29, 0]]


@pytest.mark.parametrize("ending", ["traj", "db", "extxyz"])
def test_cells_and_stresses_come_back_from_files_of_ase(tmp_path, ending):
    path = tmp_path / f"set.{ending}"
    ase.io.write(path, crystals())
    read = read_molecules(path, stress_key="stress", need=NEED)
    assert_crystals(read, 1e-7 if ending == "extxyz" else 1e-12)
    # What ASE keeps as a result is in its order, whatever that of the file is.
    again = read_molecules(path, stress_key="stress", voigt_order=VASP, need=NEED)
    np.testing.assert_array_equal(again.stresses, read.stresses)
    assert np.abs(six(read.stresses, VASP) - six(read.stresses, LAMMPS)).max() > 1e-3


def test_virials_and_stresses_have_orders_signs_and_units(tmp_path):
    np.savez(tmp_path / "set.npz", **packed())

    def read(**options) -> Molecules:
        return read_molecules(tmp_path / "set.npz", split="train", need=NEED, **options)

    assert_crystals(read(virial_key="virial", voigt_order=VASP))
    assert_crystals(read(virial_key="pressure", virial_unit="kB", voigt_order=LAMMPS))
    assert_crystals(read(stress_key="stress"))
    right = read(stress_key="stress").stresses
    for wrong in (
        {"virial_key": "virial"},
        {"virial_key": "virial", "voigt_order": LAMMPS},
        {"stress_key": "pressure", "stress_unit": "kbar", "voigt_order": LAMMPS},
        {"virial_key": "virial", "virial_unit": "kbar", "voigt_order": VASP},
    ):
        assert np.abs(read(**wrong).stresses - right).max() > 1e-3
    atomic = read(stress_key="stress", stress_unit="Ha/bohr^3").stresses
    np.testing.assert_allclose(atomic, right * 27.2114 / 0.529177**3, rtol=1e-5)
    # Lengths scale volumes.
    bohr = read(virial_key="virial", voigt_order=VASP, length_unit="bohr")
    np.testing.assert_allclose(bohr.stresses, right / 0.529177**3, rtol=1e-5)
    np.testing.assert_allclose(bohr.cells[0], crystals()[0].cell * 0.529177, rtol=1e-6)


def test_keys_of_extended_xyz_name_virials(tmp_path):
    snapshots = crystals()
    for snapshot in snapshots:
        snapshot.info["REF_virial"] = -snapshot.get_volume() * snapshot.get_stress(voigt=False)
        del snapshot.calc.results["stress"]
    ase.io.write(tmp_path / "set.xyz", snapshots, format="extxyz")
    assert_crystals(read_molecules(tmp_path / "set.xyz", virial_key="REF_virial", need=NEED), 1e-7)
    with pytest.warns(UserWarning, match="set.xyz: has REF_virial which no key reads.*virial_key"):
        assert read_molecules(tmp_path / "set.xyz").stresses is None
    # Of positions alone no stress is wanted.
    read_molecules(tmp_path / "set.xyz", energy_key=None, forces_key=None, need=())
    with pytest.raises(DataError, match="snapshot 1, line 2: stresses must be .* as 'stress', got"):
        read_molecules(tmp_path / "set.xyz", stress_key="stress", need=NEED)
    for snapshot in snapshots:
        snapshot.info["REF_virial_unit"] = "kbar"
    ase.io.write(tmp_path / "kbar.xyz", snapshots, format="extxyz")
    with pytest.raises(DataError, match="virial_unit must be what .* = kbar, got eV"):
        read_molecules(tmp_path / "kbar.xyz", virial_key="REF_virial", need=NEED)


def test_names_of_stresses_that_no_key_reads_are_warned_of(tmp_path):
    for name in ("virials", "dft_stress", "REF_virial", "stress"):
        arrays = {key: value for key, value in packed().items() if key[:3] not in ("vir", "str")}
        np.savez(tmp_path / "set.npz", **arrays, **{f"{name}_train": np.zeros((3, 6))})
        with pytest.warns(UserWarning, match=f"set.npz: has {name} which no key reads"):
            read_molecules(tmp_path / "set.npz", split="train")
    np.savez(tmp_path / "set.npz", **arrays, distress_train=np.zeros((3, 6)))
    read_molecules(tmp_path / "set.npz", split="train")


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"virial_train": np.ones((3, 5))}, "virials .* must have 6 components, 9, or "),
        ({"virial_train": np.ones(18)}, "virials .* must have 6 components, 9, or .*"),
        ({"virial_train": np.ones((2, 6))}, r"virials must have shape \(3, 3, 3\)"),
        ({"virial_train": np.arange(27.0).reshape(3, 9)}, "stresses must be symmetric matrices"),
        ({"virial_train": np.full((3, 6), np.nan)}, "snapshot 1: virials must be finite"),
        ({"cell_train": np.ones((3, 3, 2))}, r"cells must have shape \(3, 3\) or \(3, 3, 3\)"),
        ({"cell_train": np.ones((3, 3, 3))}, "snapshot 1: the cell must have a volume"),
        ({"pbc": np.ones((3, 4))}, r"pbc must be true or false, of shape"),
        ({"pbc": np.array(2)}, "pbc must be true or false"),
        ({"pbc": np.array([True, True, False])}, "virials must be of cells that repeat in all"),
        ({"num_atoms_train": np.array([1, 1, 1])}, "num_atoms must sum to the 4 atoms"),
        ({"num_atoms_train": np.array([4, 0])}, "num_atoms must be a list of numbers of atoms"),
        ({"F_train": np.ones((3, 3))}, r"forces must have shape \(4, 3\), as num_atoms"),
        ({"z": np.array([29, 0, 29, 29])}, "snapshot 2: species must be at least one atomic"),
        ({"R_train": np.zeros((4, 3))}, "snapshot 2: atoms 1 and 2 must be at least 0.05 Angstrom"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tmp_path, changed, match):
    np.savez(tmp_path / "set.npz", **packed(**changed))
    options = {"virial_key": "virial", "need": NEED, "voigt_order": VASP}
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}.*{match}.*,? got "):
        read_molecules(tmp_path / "set.npz", split="train", **options)


def test_images_at_one_place_and_dipoles_of_crystals_are_refused(tmp_path):
    cell, place = np.diag([3.0, 3.0, 3.0]), [[0, 0, 0.01], [0, 0, 3.0]]
    np.savez(tmp_path / "a.npz", z=[29, 29], R=[place], cell=cell, dipole=np.zeros((1, 3)))
    with pytest.raises(DataError, match="atoms 1 and 2 must be at least 0.05 .*, got 0.01"):
        read_molecules(tmp_path / "a.npz", need=())
    place[0][2] = 1.0
    np.savez(tmp_path / "a.npz", z=[29, 29], R=[place], cell=cell, dipole=np.zeros((1, 3)))
    options = {"energy_key": None, "forces_key": None, "need": ("dipoles",)}
    with pytest.raises(DataError, match="snapshot 1: dipoles must be of molecules, .*, got pbc"):
        read_molecules(tmp_path / "a.npz", dipole_key="dipole", **options)
    [(_, atoms)] = stream_snapshots(tmp_path / "a.npz")
    assert atoms.pbc.all() and atoms.cell.array.tolist() == cell.tolist()
    # Data sets of sGDML have lattice vectors in columns.
    sheared = np.array([[3, 0, 0], [1, 3, 0], [0, 0, 3.0]])
    for more, wanted in (({}, sheared), ({"md5": "", "type": "d"}, sheared.T)):
        np.savez(tmp_path / "b.npz", z=[29, 29], R=[place], lattice=sheared, **more)
        assert read_molecules(tmp_path / "b.npz", need=()).cells[0].tolist() == wanted.tolist()


def test_asymmetric_stresses_of_extended_xyz_are_refused(tmp_path):
    text = io.StringIO()
    ase.io.write(text, crystals(1), format="extxyz")
    path = tmp_path / "odd.xyz"
    path.write_text(re.sub(r'stress="\S+ \S+ ', 'stress="0.1 0.2 ', text.getvalue()))
    # ASE takes one of the two for both.
    assert ase.io.read(path).get_stress().shape == (6,)
    with pytest.raises(DataError, match="snapshot 1, line 2: stresses must be symmetric .*, got"):
        read_molecules(path, stress_key="stress", need=NEED)


def test_examples_have_cells_where_any_snapshot_is_periodic(tmp_path):
    (other, slab, _), water = crystals(), molecule("H2O")
    slab.pbc = other.pbc = [True, True, False]
    for snapshot in (slab, water, other):
        results = {"energy": 1.0, "forces": np.zeros(snapshot.positions.shape)}
        snapshot.calc = SinglePointCalculator(snapshot, **results)
    ase.io.write(tmp_path / "mixed.traj", [slab, water, other])
    both = read_molecules(tmp_path / "mixed.traj")
    assert both.pbc.tolist() == [[True, True, False], [False] * 3, [True, True, False]]
    assert both.cells[0, 2].tolist() == [0, 0, 0] and not both.cells[1].any()
    ase.io.write(tmp_path / "water.traj", [water])
    alone = read_molecules(tmp_path / "water.traj")
    assert alone.cells is None and alone.pbc is None
    parts = {split: Part("mixed", np.arange(3), both) for split in ("train", "valid")}
    splits, _ = make_examples(parts | {"test": Part("water", np.arange(1), alone)})
    assert splits["train"]["cell"].dtype == np.float32 and splits["test"]["pbc"].dtype == bool
    assert splits["test"]["cell"].shape == (1, 3, 3) and not splits["test"]["cell"].any()
    parts = {split: Part("water", np.arange(1), alone) for split in ("train", "valid", "test")}
    assert not {"cell", "pbc"} & make_examples(parts)[0]["train"].keys()


def test_orders_of_components():
    assert places_of("xx yy zz xy yz zx") == places_of("XX YY ZZ xy zy xz")
    for wrong in ("xx yy zz", "xx yy zz xy yx xz", "xx yy zz xy yz xw", "xxyyzzxyyzxz"):
        assert places_of(wrong) is None
        with pytest.raises(UsageError, match="voigt_order must be the six components.*, got"):
            read_molecules("a.npz", voigt_order=wrong)
    [matrix] = as_matrices("", np.arange(1.0, 7)[None], places_of(VASP))
    assert matrix.tolist() == [[1, 4, 6], [4, 2, 5], [6, 5, 3]]
    with pytest.raises(UsageError, match="stress_key and virial_key must be at most one, got"):
        read_molecules("a.npz", stress_key="a", virial_key="b")


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"stress_key": "a", "virial_key": "b"}, "virial_key"),
        ({"stress_unit": "GPa"}, "stress_unit"),
        ({"virial_unit": "kbar", "stress_key": "a"}, "virial_unit"),
        ({"voigt_order": VASP}, "voigt_order"),
        ({"stress_key": "a", "voigt_order": "xx yy"}, "voigt_order"),
        ({"stress_key": "a", "stress_unit": "eV"}, "stress_unit"),
        ({"stress_key": "a", "targets": "energy"}, "stress_key"),
    ],
)
def test_keys_of_stresses_that_do_not_go_together(options, key):
    MoleculesDataConfig(kind="file", path="a.npz", virial_key="a", virial_unit="GPa")
    with pytest.raises(ValueError, match=f"(?s){key}.*must "):
        MoleculesDataConfig(kind="file", path="a.npz", **options)


@pytest.mark.filterwarnings("ignore:.*are such copies")
@pytest.mark.parametrize(("element", "order"), [("Si", VASP), ("Mo", LAMMPS)])
def test_virials_of_mlearn_are_the_slopes_of_its_energies(element, order):
    """They are pressures in kbar. Other cells of silicon than these have the order of molybdenum."""
    path = SHARED / f"mlearn_{element}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} of the shared data is not there")
    data = MoleculesDataConfig(
        kind="file",
        path=str(path),
        train_split="train",
        test_split="test",
        virial_key="virial",
        virial_unit="kbar",
        voigt_order=order,
        num_train=150,
        num_valid=10,
        num_test=20,
    )
    splits, _ = load_molecules(**data.model_dump())
    assert splits["test"]["stress"].shape == splits["test"]["cell"].shape == (20, 3, 3)

    def disagreement(voigt_order: str, **options) -> float:
        options |= {"virial_key": "virial", "voigt_order": voigt_order}
        read = read_molecules(path, split="train", need=NEED, **options)
        # Strained cells of the same perfect crystal, and the pairs of them that are near.
        sizes = np.sum(read.species > 0, axis=1)
        rows = np.flatnonzero(np.load(path)["group_train"] == "Elastic")
        rows = rows[sizes[rows] == sizes[rows[0]]]
        ends = rows[np.stack(np.triu_indices(len(rows), k=1))]
        strains = np.linalg.solve(read.cells[ends[0]], read.cells[ends[1]]) - np.eye(3)
        ends = ends[:, np.max(np.abs(strains), axis=(1, 2)) < 0.045]
        steps = read.cells[ends[1]] - read.cells[ends[0]]
        work = np.linalg.det(read.cells)[:, None, None] * read.stresses
        works = [
            np.sum(work[end] * np.linalg.solve(read.cells[end], steps), (1, 2)) for end in ends
        ]
        gains = read.energies[ends[1]] - read.energies[ends[0]]
        return float(np.std(gains - np.mean(works, axis=0)) / np.std(gains))

    assert disagreement(order, virial_unit="kbar") < 0.05
    for wrong in {VASP, LAMMPS, "xx yy zz yz xz xy"} - {order}:
        assert disagreement(wrong, virial_unit="kbar") > 0.15
    assert disagreement(order, virial_unit="eV") > 0.15
