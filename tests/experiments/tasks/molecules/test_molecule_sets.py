"""Sets of molecules: how they are split, referenced, centred and padded, and what is refused."""

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError

from experiments.config.explain import explain
from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data import sets as molecule_sets
from experiments.tasks.molecules.data import simulate as tight_binding
from experiments.tasks.molecules.data.molecules import Molecules
from experiments.tasks.molecules.data.names import COMMON_NAMES
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.data.simulate import simulate_molecule
from experiments.tasks.molecules.data.xtb import Labels
from experiments.tasks.molecules.data_config import MoleculesDataConfig
from tests.helpers.paths import SHARED

SPLITS = ("train", "valid", "test")
COUNTS = {"num_train": 6, "num_valid": 3, "num_test": 2}
FLOAT32 = np.finfo(np.float32).eps


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} of the shared data is not there")
    return SHARED / name


def loaded(file, **changes):
    options = {"kind": "file", "path": str(file), "targets": "energy_forces", "seed": 0}
    data = MoleculesDataConfig(**(options | COUNTS | changes))
    return load_molecules(**data.model_dump())


def written(path: Path, names=("H2O",) * 12, first: int = 0, offset: float = 0.0) -> Path:
    """Snapshots whose first force is their number, with energies that are sums over atoms."""
    snapshots = []
    for number, name in enumerate(names, start=first):
        snapshot = molecule(name)
        snapshot.positions *= 1 + 0.01 * number
        snapshot.positions += offset
        forces = np.zeros(snapshot.positions.shape)
        forces[0, 0] = number
        energy = float(np.sum(snapshot.numbers**2 * -10.0))
        snapshot.calc = SinglePointCalculator(
            snapshot, energy=energy, forces=forces, dipole=np.full(3, number)
        )
        snapshots.append(snapshot)
    ase.io.write(path, snapshots)
    return path


def numbers(splits) -> list[list[int]]:
    """The numbers of the snapshots of each split."""
    return [splits[split]["forces"][:, 0, 0].astype(int).tolist() for split in SPLITS]


def test_the_configuration_has_a_default_for_everything():
    data = MoleculesDataConfig()
    assert (data.kind, data.molecule, data.targets) == ("tblite", "ethanol", "energy_forces")
    assert MoleculesDataConfig(**data.model_dump()) == data


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"kind": "file"}, {"path": "None"}),
        (
            {"kind": "file", "path": "a.xyz", "molecule": "water", "cache": "x"},
            {"molecule": "'water'", "cache": "'x'"},
        ),
        (
            {"kind": "file", "path": "a.xyz", "temperature": 300.0, "steps_between": 200},
            {"temperature": "300.0"},
        ),
        (
            {"path": "a.xyz", "energy_unit": "hartree"},
            {"path": "'a.xyz'", "energy_unit": "'hartree'"},
        ),
        (
            {"valid_split": "valid", "dipole_key": "mu"},
            {"valid_split": "'valid'", "dipole_key": "'mu'"},
        ),
    ],
)
def test_keys_that_a_kind_does_not_read_are_refused(values, wrong):
    with pytest.raises(ValidationError) as caught:
        MoleculesDataConfig(**values)
    mistakes = dict(explain(MoleculesDataConfig, caught.value))
    assert mistakes.keys() == wrong.keys()
    for key, received in wrong.items():
        assert received in mistakes[key]


def test_one_file_is_cut_at_random_and_disjointly(tmp_path):
    path = written(tmp_path / "all.xyz")

    splits, _ = loaded(path)

    train, valid, test = numbers(splits)
    order = np.random.default_rng(0).permutation(12).tolist()
    assert [train, valid, test] == [order[:6], order[6:9], order[9:11]]
    assert numbers(loaded(path, seed=1)[0]) != [train, valid, test]
    # All splits are named, two of them by another name of the same file.
    (tmp_path / "link.xyz").symlink_to(path)
    named = loaded(path, valid_path=str(tmp_path / "link.xyz"), test_path=f"{tmp_path}/./all.xyz")
    assert numbers(named[0]) == [train, valid, test]


def test_splits_of_their_own_are_not_cut_from_the_training_set(tmp_path):
    path = written(tmp_path / "train.xyz")
    other = written(tmp_path / "test.xyz", first=20)

    train, valid, test = numbers(loaded(path, test_path=str(other))[0])
    assert set(train + valid) <= set(range(12)) and len(set(train + valid)) == 9
    assert set(test) <= set(range(20, 32))
    train, valid, test = numbers(
        loaded(path, valid_path=str(other), test_path=str(other), num_train=12, num_valid=9)[0]
    )
    assert set(train) == set(range(12))
    assert len(set(valid + test)) == 11 and set(valid + test) <= set(range(20, 32))


def test_sets_in_one_archive_are_told_apart_by_the_ends_of_their_names(tmp_path):
    water, rng = molecule("H2O"), np.random.default_rng(0)
    shapes = water.positions + 0.05 * rng.normal(size=(3, 12, 3, 3))
    forces, dipoles = np.zeros((2, 12, 3, 3)), rng.normal(size=(12, 3))
    forces[:, :, 0, 0] = np.arange(24).reshape(2, 12)
    both = {"z": water.numbers, "mu_train": dipoles, "mu_test": dipoles}
    for end, shape, pushed in zip(("train", "test"), shapes[:2], forces, strict=True):
        both |= {f"R_{end}": shape, f"E_{end}": np.zeros(12), f"F_{end}": pushed}
    np.savez(tmp_path / "both.npz", **both)
    np.savez(tmp_path / "plain.npz", z=water.numbers, R=shapes[2], E=np.zeros(12), F=forces[1])
    path, plain = tmp_path / "both.npz", str(tmp_path / "plain.npz")

    order = np.random.default_rng(0).permutation(12)
    splits, _ = loaded(path, train_split="train", test_split="test")
    assert numbers(splits) == [order[:6].tolist(), order[6:9].tolist(), (12 + order[:2]).tolist()]
    assert numbers(loaded(path, train_split="train", test_path=plain)[0]) == numbers(splits)
    _, valid, test = numbers(loaded(path, train_split="test", valid_path=plain)[0])
    assert (valid, test) == ((12 + order[:3]).tolist(), (12 + order[6:8]).tolist())
    with pytest.raises(DataError, match="both.npz: positions .*one of train, test"):
        loaded(path)

    units = {"energy_unit": "kcal/mol", "length_unit": "bohr"}
    units |= {"forces_unit": "hartree/bohr", "train_split": "train"}
    scaled = loaded(path, **units)[0]["train"]
    bohr, hartree = 0.529177, 27.2114
    np.testing.assert_allclose(
        scaled["positions"], splits["train"]["positions"] * bohr, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(scaled["forces"][:, 0, 0], order[:6] * hartree / bohr, rtol=1e-5)
    dipole = {"targets": "dipole", "dipole_unit": "e*bohr", "dipole_key": "mu"}
    moments = loaded(path, train_split="train", **dipole)[0]["train"]["dipole"]
    np.testing.assert_allclose(moments, dipoles[order[:6]] * bohr, rtol=1e-5)


def test_arrays_are_padded_to_the_largest_molecule_of_the_sets(tmp_path):
    small = written(tmp_path / "small.xyz", ["CH4", "H2O", "CH3OH"] * 3)
    large = written(tmp_path / "large.xyz", ["C2H6", "H2O"])
    one = {"num_valid": 1, "num_test": 2}

    splits, facts = loaded(small, num_train=8, test_path=str(large), **one)

    assert facts.elements == (1, 6, 8)
    for split in SPLITS:
        arrays = splits[split]
        count = len(arrays["energy"])
        assert arrays["species"].shape == (count, 8)
        assert arrays["positions"].shape == arrays["forces"].shape == (count, 8, 3)
        assert arrays["species"].dtype == np.int32
        assert all(arrays[name].dtype == np.float32 for name in ("positions", "forces", "energy"))
        empty = arrays["species"] == 0
        assert not arrays["positions"][empty].any() and not arrays["forces"][empty].any()
        assert np.all(np.diff(empty.astype(int), axis=1) >= 0)
    ethane = splits["test"]["species"][np.argmax(np.sum(splits["test"]["species"] > 0, axis=1))]
    assert ethane.tolist() == [2, 2, 1, 1, 1, 1, 1, 1]


def test_a_larger_molecule_that_is_in_no_set_does_not_count(tmp_path):
    names = ["CH4"] * 12
    names[np.random.default_rng(0).permutation(12)[-1]] = "C2H6"
    path = written(tmp_path / "mixed.xyz", names)

    assert loaded(path)[0]["train"]["species"].shape == (6, 5)
    assert loaded(path, num_test=3)[0]["train"]["species"].shape == (6, 8)


def test_positions_are_centred_before_they_are_rounded(tmp_path):
    near = loaded(written(tmp_path / "near.xyz"))[0]["train"]["positions"]
    far = loaded(written(tmp_path / "far.xyz", offset=1e5))[0]["train"]["positions"]

    # The file has eight decimals.
    np.testing.assert_allclose(far, near, atol=1e-7)
    np.testing.assert_allclose(near.astype(float).mean(axis=1), 0, atol=4 * FLOAT32)
    # The control: rounded first, they are off by far more.
    rounded = (near.astype(float) + 1e5).astype(np.float32)
    assert np.abs(rounded - rounded.mean(axis=1, keepdims=True) - near).max() > 1e-3


def test_references_are_the_energies_of_atoms_where_there_are_such(tmp_path):
    names = ["CH4", "H2O", "CO2", "CH3OH"] * 3
    splits, facts = loaded(written(tmp_path / "sums.xyz", names))

    assert facts.elements == (1, 6, 8)
    np.testing.assert_allclose(facts.references, [-10.0, -360.0, -640.0], rtol=1e-12)
    assert not np.any(facts.undetermined)
    for split in SPLITS:
        np.testing.assert_allclose(splits[split]["energy"], 0, atol=1e-9)
    assert json.loads(json.dumps(facts._asdict()))["elements"] == [1, 6, 8]


def test_energies_keep_what_is_above_the_references(tmp_path):
    path = written(tmp_path / "sums.xyz", ["CH4", "H2O", "CO2", "CH3OH"] * 3)
    snapshots = ase.io.read(path, ":")
    for number, snapshot in enumerate(snapshots):
        snapshot.calc.results["energy"] += 0.1 * (-1) ** number
    ase.io.write(path, snapshots)

    splits, facts = loaded(path)

    order = np.random.default_rng(0).permutation(12)
    energies = np.array([snapshot.calc.results["energy"] for snapshot in snapshots])[order[:11]]
    per_atom = np.array([0.0, *facts.references])
    for split, expected in zip(SPLITS, np.split(energies, [6, 9]), strict=True):
        referenced = splits[split]["energy"]
        whole = referenced + per_atom[splits[split]["species"]].sum(axis=1)
        np.testing.assert_allclose(whole, expected, rtol=0, atol=4 * FLOAT32)
        assert 1e-3 < np.abs(referenced).max() < 1


def test_references_of_one_molecule_are_the_smallest_that_give_the_mean_energy(tmp_path):
    _, facts = loaded(written(tmp_path / "water.xyz"))

    np.testing.assert_allclose(facts.references, np.array([2, 1]) * -660 / 5, rtol=1e-12)
    # Two hydrogens an oxygen are known, and any other proportion is not.
    across = np.array([1.0, -2.0]) / np.sqrt(5)
    np.testing.assert_allclose(facts.undetermined, np.outer(across, across), atol=1e-12)
    # However many snapshots there are.
    ethanol = np.array([6, 2, 1.0])
    many = written(tmp_path / "ethanol.xyz", ("CH3CH2OH",) * 200)
    matrix = np.array(loaded(many, num_train=190)[1].undetermined)
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-12)
    np.testing.assert_allclose(matrix @ ethanol, 0, atol=1e-12)
    assert np.trace(matrix) == pytest.approx(2)


def test_scales_are_those_of_what_is_learnt(tmp_path):
    rng = np.random.default_rng(0)
    snapshots = []
    for name in ["CH4", "H2O"] * 6:
        snapshot = molecule(name)
        snapshot.positions += 0.01 * rng.normal(size=snapshot.positions.shape)
        results = {"energy": rng.normal(), "forces": rng.normal(size=snapshot.positions.shape)}
        snapshot.calc = SinglePointCalculator(snapshot, **results, dipole=rng.normal(size=3))
        snapshots.append(snapshot)
    ase.io.write(tmp_path / "noise.xyz", snapshots)

    def both(targets):
        splits, facts = loaded(tmp_path / "noise.xyz", targets=targets)
        return splits["train"], facts

    arrays, facts = both("energy_forces")
    real = arrays["species"] > 0
    np.testing.assert_allclose(facts.scale, np.sqrt(np.mean(arrays["forces"][real] ** 2)), 1e-6)
    assert set(arrays) == {"positions", "species", "energy", "forces"}
    arrays, facts = both("energy")
    per_atom = np.mean(arrays["energy"] ** 2 / np.sum(real, axis=1))
    np.testing.assert_allclose(facts.scale, np.sqrt(per_atom), 1e-6)
    assert set(arrays) == {"positions", "species", "energy"}
    arrays, facts = both("dipole")
    np.testing.assert_allclose(facts.scale, np.sqrt(np.mean(arrays["dipole"] ** 2)), 1e-6)
    assert set(arrays) == {"positions", "species", "dipole"}
    assert facts.references == (0.0, 0.0, 0.0)


def test_nothing_to_learn_has_the_scale_one(tmp_path):
    _, facts = loaded(written(tmp_path / "sums.xyz", ["CH4", "H2O"] * 6), targets="energy")
    assert facts.scale == 1.0


def test_elements_that_training_lacks_are_refused(tmp_path):
    path = written(tmp_path / "train.xyz")
    other = written(tmp_path / "test.xyz", ["H2O", "CH3OH", "NH3"])

    with pytest.raises(DataError) as caught:
        loaded(path, test_path=str(other), num_test=3)

    match = re.match(
        r"(.*): snapshot (\d), .* for test: elements .*, H, O, got ([CN]) \(2 of 3 snapshots",
        str(caught.value),
    )
    assert match and match[1] == str(other)
    assert (match[2], match[3]) in [("2", "C"), ("3", "N")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"all.xyz: num_train . num_valid . num_test .* at most 10, .* got 6 . 3 . 2"),
        ({"test_path": "test"}, "test.xyz: num_test .* at most 1, .* got 2"),
        ({"train_split": "train"}, "split .*'train' for .*all.xyz"),
        ({"energy_key": "E"}, r"all.xyz: snapshot 1, line 2: energies .*'E'"),
        ({"path": "lost.xyz"}, "lost.xyz: .*no such file"),
    ],
)
def test_defects_are_named(tmp_path, change, message):
    path = written(tmp_path / "all.xyz", ["H2O"] * 10)
    if "test_path" in change:
        change = {"test_path": str(written(tmp_path / "test.xyz", ["H2O"]))}
    with pytest.raises(UsageError, match=message):
        loaded(path, **change)


def test_arguments_out_of_range_are_named():
    options = {"seed": 0, "targets": "energy"} | COUNTS
    with pytest.raises(UsageError, match="num_valid .*0"):
        load_molecules(kind="file", path="a.xyz", **(options | {"num_valid": 0}))
    with pytest.raises(UsageError, match="path .*'file', got None"):
        load_molecules(kind="file", **options)
    with pytest.raises(UsageError, match="steps_between .*got 0"):
        load_molecules(kind="tblite", steps_between=0, **options)


def test_numbers_beyond_float32_are_refused(tmp_path):
    arrays = {"z": np.array([8, 1, 1]), "E": np.zeros(11), "F": np.zeros((11, 3, 3))}
    shape = molecule("H2O").positions * np.linspace(1, 2, 11)[:, None, None]
    arrays["F"][:, 1, 2] = 1e39
    np.savez(tmp_path / "huge.npz", R=shape, **arrays)
    with pytest.raises(DataError, match="huge.npz: .*forces.* float32"):
        loaded(tmp_path / "huge.npz")


def simulated(monkeypatch, **changes):
    """The splits of a simulation whose snapshots are numbered, and how many were asked for."""
    asked = []

    def simulate(name, *, snapshots, **options):
        asked.append((name, snapshots, options))
        water = molecule("H2O")
        forces = np.zeros((snapshots, 3, 3))
        forces[:, 0, 0] = np.arange(snapshots)
        tiled = np.tile(water.positions, (snapshots, 1, 1))
        species = np.tile(water.numbers.astype(np.int32), (snapshots, 1))
        return Molecules(
            species, tiled, np.arange(snapshots) * 1.0, forces, np.ones((snapshots, 3))
        )

    monkeypatch.setattr(molecule_sets, "simulate_molecule", simulate)
    data = MoleculesDataConfig(**(COUNTS | changes))
    splits, _ = load_molecules(**data.model_dump())
    return splits, asked


def test_a_simulation_is_cut_in_blocks_with_gaps(monkeypatch):
    splits, [(name, snapshots, options)] = simulated(monkeypatch, steps_between=1500)

    # Three snapshots take 2.25 ps.
    assert numbers(splits) == [[11, 12, 13, 14, 15, 16], [5, 6, 7], [0, 1]]
    assert (name, snapshots) == ("ethanol", 17)
    assert options == {"temperature": 500.0, "seed": 0, "steps_between": 1500, "cache": "runs/data"}
    more, _ = simulated(monkeypatch, steps_between=1500, num_train=9)
    assert numbers(more)[1:] == numbers(splits)[1:]
    assert numbers(more)[0][:6] == numbers(splits)[0]
    train, valid, test = numbers(simulated(monkeypatch)[0])
    assert (valid[0] - test[-1], train[0] - valid[-1]) == (21, 21)
    splits, _ = simulated(monkeypatch, targets="dipole")
    assert set(splits["test"]) == {"positions", "species", "dipole"}


def test_a_molecule_has_the_same_snapshots_by_each_of_its_names(tmp_path, monkeypatch):
    monkeypatch.setattr(tight_binding, "_CHUNK", 4)

    class Springs:
        def __init__(self, atoms: Atoms):
            self.places = atoms.positions.copy()

        def __call__(self, positions):
            return Labels(np.zeros(()), 10 * (self.places - positions), np.zeros(3))

    monkeypatch.setattr(tight_binding, "TightBinding", Springs)
    few = {"snapshots": 3, "temperature": 300, "seed": 1, "steps_between": 2, "equilibrate": 2}
    formula, *others = (
        simulate_molecule(name, **few, cache=tmp_path, progress=False)
        for name in ("CH3CH2OH", "ethanol", " Ethanol ", "ch3ch2oh")
    )

    for other in others:
        np.testing.assert_array_equal(other.positions, formula.positions)
    assert [path.name.startswith("tblite-CH3CH2OH-") for path in tmp_path.iterdir()] == [True]


def test_common_names_are_names_of_ase():
    for name, formula in COMMON_NAMES.items():
        assert name == name.lower()
        assert len(molecule(formula)) > 1


def test_ethanol_has_its_own_test_set_and_a_validation_set_of_its_training_snapshots():
    path = shared("rmd17_ethanol_botnet.npz")

    splits, facts = loaded(
        path, train_split="train", test_split="test", num_train=950, num_valid=50, num_test=1000
    )

    assert facts.elements == (1, 6, 8)
    with np.load(path) as file:
        for ends, name in ((("train", "valid"), "train"), (("test",), "test")):
            order = np.random.default_rng(0).permutation(1000)
            assert sorted(order) == list(range(1000))
            energy, forces, species, positions = (
                np.concatenate([splits[end][key] for end in ends])
                for key in ("energy", "forces", "species", "positions")
            )
            centred = file[f"R_{name}"] - file[f"R_{name}"].mean(axis=1, keepdims=True)
            np.testing.assert_allclose(positions, centred[order], rtol=FLOAT32, atol=1e-12)
            np.testing.assert_allclose(forces, file[f"F_{name}"][order], rtol=FLOAT32)
            references = np.array([0.0, *facts.references])[species].sum(axis=1)
            # Below 1 eV float32 keeps a tenth of a micro-eV, of the whole 4200 only 0.5 meV.
            np.testing.assert_allclose(energy + references, file[f"E_{name}"][order], atol=1e-7)
            rough = file[f"E_{name}"].astype(np.float32).astype(float)
            assert np.abs(rough - file[f"E_{name}"]).max() > 1e-4
    assert 1.1 < facts.scale < 1.3


def test_amons_come_in_their_three_sets_and_in_our_units():
    path = shared("amons_forces_dipoles_qmllib.npz")
    options = {f"{split}_split": split for split in SPLITS}
    options |= {"num_train": 800, "num_valid": 800, "num_test": 795}
    keys = {"energy_key": "Etot", "forces_key": "F", "energy_unit": "kcal/mol"}

    splits, facts = loaded(path, **options, **keys)
    dipoles, _ = loaded(path, **options, dipole_unit="Debye", targets="dipole")

    assert facts.elements == (1, 6, 7, 8)
    kcal, debye = 0.0433641, 0.208194
    with np.load(path) as file:
        for split in SPLITS:
            order = np.random.default_rng(0).permutation(len(file[f"z_{split}"]))
            arrays = splits[split]
            expected = np.array([0, *facts.elements])[arrays["species"]]
            np.testing.assert_array_equal(expected, file[f"z_{split}"][order])
            forces = file[f"F_{split}"][order] * kcal
            np.testing.assert_allclose(arrays["forces"], forces, rtol=1e-5, atol=1e-6)
            moments = file[f"dipole_{split}"][order] * debye
            np.testing.assert_allclose(dipoles[split]["dipole"], moments, rtol=1e-5, atol=1e-6)
            # Total energies of 8000 eV; what the references leave is a few, in all sets.
            assert np.sqrt(np.mean(arrays["energy"] ** 2)) < 2


def test_qm7_is_cut_in_one_random_order():
    path = shared("qm7_qml.npz")
    qm7 = {"energy_key": "hof_pbe0_tzvp", "energy_unit": "kcal/mol", "targets": "energy"}

    with pytest.warns(UserWarning) as caught:
        splits, facts = loaded(path, **qm7, num_train=5000, num_valid=1000, num_test=1101)
    # QM7 has molecules twice, in another orientation.
    ends = [str(warning.message).partition("; ")[2] for warning in caught]
    assert ends == [f"{part} snapshots are such copies" for part in ("2 of 1000", "6 of 1101")]

    assert facts.elements == (1, 6, 7, 8, 16)
    with np.load(path) as file:
        order = np.random.default_rng(0).permutation(7101)
        energies = file["hof_pbe0_tzvp"][order] * 0.0433641
    ends = np.cumsum([5000, 1000])
    for split, expected in zip(SPLITS, np.split(energies, ends), strict=True):
        species = splits[split]["species"]
        whole = splits[split]["energy"] + np.array([0.0, *facts.references])[species].sum(axis=1)
        np.testing.assert_allclose(whole, expected, rtol=1e-5)
        # A mean alone would leave the spread, which is seven times as much.
        assert np.std(expected) > 7 * np.sqrt(np.mean(splits[split]["energy"] ** 2))
