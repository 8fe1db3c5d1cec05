import io
import itertools
import os
import re
import signal
import warnings
from pathlib import Path

import ase.db
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console

import experiments.tasks.molecules.predict
from experiments.config.sections import MeshConfig
from experiments.data.npz import DataError
from experiments.errors import ExperimentError, InterruptedRunError, UsageError
from experiments.tasks.molecules import batches
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.predict import predict
from experiments.tasks.molecules.predicted_snapshot import as_extended_xyz
from experiments.tasks.molecules.prediction_file import PredictionFile
from experiments.training.mesh import make_mesh
from tests.helpers.tiny_potential import TinyPotential, network

WATER = "3\n\nO 0.0 0.0 {}\nH 0.0 0.763 -0.477\nH 0.0 -0.763 -0.477\n"


@pytest.fixture(scope="module")
def potential():
    return TinyPotential()


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """One evaluator for all tests with one potential: what it compiles does not depend on the file."""
    monkeypatch.setattr(experiments.tasks.molecules.predict, "Evaluator", _shared)


_evaluators: dict = {}


def _shared(potential, params, dtype, mesh):
    del mesh  # A second device would have everything compiled once more.
    key = id(potential), params, dtype
    # The potential is kept too: an id alone could be that of another one later.
    if key not in _evaluators:
        _evaluators[key] = batches.Evaluator(potential, params, dtype), potential
    return _evaluators[key][0]


def waters(count: int) -> list[str]:
    return [WATER.format(f"{0.1 + 1e-3 * index:.4f}") for index in range(count)]


def written(path: Path, content: str | list[str]) -> Path:
    path.write_text("".join(content))
    return path


def run(potential, path, output, **options) -> str:
    text = io.StringIO()
    predict(potential, 1.0, path, output, Console(file=text, width=40), **options)
    return text.getvalue()


def failing(potential, path, output, error=ExperimentError, **options) -> str:
    with pytest.raises(error) as caught:
        run(potential, path, output, **options)
    return str(caught.value)


def snapshots(path: Path) -> list[Atoms]:
    return ase.io.read(path, ":")


def sources(path: Path) -> list[int]:
    return [atoms.info["source_snapshot"] for atoms in snapshots(path)]


def test_two_devices_predict_what_one_does():
    named = [(f"number {n}", molecule("H2O")) for n in range(3)] + [("ammonia", molecule("NH3"))]
    for index, (_, atoms) in enumerate(named):
        atoms.positions *= 1 + index / 50
    meshes = (None, make_mesh(MeshConfig(data=2)))
    one, two = (batches.Evaluator(TinyPotential(), 1.0, mesh=mesh)(named) for mesh in meshes)
    for alone, shared in zip(one, two, strict=True):
        np.testing.assert_allclose(shared.energy, alone.energy, rtol=1e-6)
        np.testing.assert_allclose(shared.forces, alone.forces, atol=1e-6)
    # The control: each molecule has an energy of its own.
    assert len({round(found.energy, 6) for found in one}) == 4


def test_energies_and_forces_are_those_of_the_calculator_in_the_order_of_the_file(tmp_path):
    potential = TinyPotential(network, offset=-1e6)
    rng = np.random.default_rng(0)
    images = [molecule(name) for name in ("H2O", "NH3", "HCN", "H2O", "NH3")]
    for index, image in enumerate(images):
        # So far away that single precision does not know where the atoms are.
        image.positions += 0.1 * rng.normal(size=image.positions.shape) + 1e4
        image.info |= {"name": f"the {index}th one", "energy_unit": "kcal/mol", "weight": 0.5}
        image.calc = SinglePointCalculator(image, energy=-1.0, forces=image.positions)
    ase.io.write(tmp_path / "in.xyz", images, format="extxyz")

    said = run(potential, tmp_path / "in.xyz", tmp_path / "new" / "out.xyz")

    assert potential.traces == 2
    assert f"wrote {tmp_path / 'new' / 'out.xyz'}: " in said and "5 of 5 snapshots" in said
    assert os.listdir(tmp_path / "new") == ["out.xyz"]
    calculator = SymmetrizedCalculator.of(potential, 1.0)
    for index, found in enumerate(snapshots(tmp_path / "new" / "out.xyz")):
        expected = images[index].copy()
        expected.calc = calculator
        assert found.info == {
            "source_snapshot": index + 1,
            "name": f"the {index}th one",
            "weight": 0.5,
        }
        np.testing.assert_array_equal(found.numbers, expected.numbers)
        np.testing.assert_allclose(found.positions, expected.positions, atol=1e-8)
        # Single precision of some 10 eV, on top of a million in double.
        np.testing.assert_allclose(found.get_forces(), expected.get_forces(), atol=1e-4)
        energy = expected.get_potential_energy()
        assert abs(found.get_potential_energy() - energy) < 1e-5
        assert abs(float(np.float32(energy)) - energy) > 1e-4


def test_double_precision_is_there_for_those_who_ask(tmp_path, potential):
    path = written(tmp_path / "in.xyz", waters(2))
    exact = TinyPotential().energy(1.0)
    errors = []
    for dtype in ("float32", "float64"):
        run(potential, path, tmp_path / f"{dtype}.xyz", dtype=dtype)
        [_, atoms] = snapshots(tmp_path / f"{dtype}.xyz")
        species = potential.species_of(atoms.numbers)
        energy = exact(jnp.asarray(atoms.positions), species) + potential.reference(atoms.numbers)
        errors.append(abs(atoms.get_potential_energy() - float(energy)))
    assert errors[1] < 1e-12 < 1e-9 < errors[0]


def test_a_defect_in_snapshot_700_of_1000_costs_that_snapshot_alone(tmp_path, potential):
    texts = waters(1000)
    texts[699] = texts[699].replace("0.763", "0.7.63", 1)
    path = written(tmp_path / "in.xyz", texts)

    message = failing(potential, path, tmp_path / "out.xyz")

    assert f"1 of 1000 snapshots could not be predicted; the other 999 are in {tmp_path}" in message
    assert re.search(r"\n  snapshot 700, line 3499: column 3 .*'0\.7\.63'", message)
    assert sources(tmp_path / "out.xyz") == [n for n in range(1, 1001) if n != 700]
    with pytest.raises(DataError, match="snapshot 700"):
        read_molecules(path, need=())


class Moody(TinyPotential):
    """Has no energy where the second coordinate of the first atom is above 50, and no size of four."""

    def energy(self, params):
        usual = super().energy(params)

        def energy(positions, species):
            if len(positions) == 4:
                raise ValueError("four is not\nsupported")
            height = positions[0, 1] - positions[1, 1]
            return usual(positions, species) + jnp.where(height > 50, jnp.sqrt(-height), 0)

        return energy


def test_every_defect_is_explained_and_all_other_snapshots_are_written(tmp_path):
    good = waters(20)
    defects = {
        "snapshot 2, line 8": ("'Q'", good[1].replace("O", "Q")),
        "snapshot 4, line 17": ("element 9", good[3].replace("O", "F")),
        "snapshot 5, line 22": ("atoms 2 and 3", good[4].replace("-0.763", "0.763")),
        "snapshot 7, line 33": ("'nan'", good[6].replace("0.0", "nan", 1)),
        "snapshot 8, line 41": ("'3'", "4" + good[7][1:]),
        "snapshot 10, line 50": ("'3'", good[9][: good[9].rindex("H")]),
        "snapshot 11, line 51": ("pos_unit", good[10].replace("3\n", "3\npos_unit=bohr", 1)),
        "snapshot 13, line 61": ("nan eV", good[12].replace("O 0.0 0.0", "O 0.0 99.0")),
        "snapshot 14, line 66": ("four is not supported", f"4{good[13][1:]}H 5 5 5\n"),
        "snapshot 16, line 76": ("'three'", "three" + good[15][1:]),
        "snapshot 18, line 88": ("columns", good[17].replace("0.0 0.0 ", "0.0 ")),
        "snapshot 20, line 99": ("of the 3", good[19][: good[19].index("H")]),
    }
    texts, failed = [*good], []
    for location, (_, text) in defects.items():
        failed.append(int(location.split()[1].rstrip(",")))
        texts[failed[-1] - 1] = text
    path = written(tmp_path / "in.xyz", texts)

    message = failing(Moody(), path, tmp_path / "out.xyz")

    assert f"{len(defects)} of 20 snapshots could not" in message
    for line, (location, (word, _)) in zip(message.splitlines()[1:], defects.items(), strict=True):
        assert line.startswith(f"  {location}: ") and word in line, line
    assert sources(tmp_path / "out.xyz") == [n for n in range(1, 21) if n not in failed]
    # Of those in between, the places too: a snapshot must not be taken for its neighbour.
    for atoms in snapshots(tmp_path / "out.xyz"):
        height = 0.1 + 1e-3 * (atoms.info["source_snapshot"] - 1)
        np.testing.assert_allclose(atoms.positions[0, 2], height, atol=1e-12)


class Greedy(TinyPotential):
    """Has no memory for four atoms, nor for more than one molecule of two."""

    def energy(self, params):
        usual = super().energy(params)

        def energy(positions, species, graph=None):
            if len(positions) == 4:
                raise MemoryError("Unable to allocate 17 TiB")
            if len(positions) == 2 and graph is None:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
            return usual(positions, species)

        return energy


def test_a_want_of_memory_costs_the_snapshot_that_has_it_alone(tmp_path, monkeypatch):
    large, pair = "4\n\nH 0 0 0\nH 0 0 1\nH 0 1 0\nH 1 0 0\n", "2\n\nH 0 0 0\nH 0 0 {}\n"
    texts = [waters(1)[0], large, pair.format(0.7), pair.format(0.9), *waters(2)]
    path = written(tmp_path / "in.xyz", texts)
    message = failing(Greedy(), path, tmp_path / "out.xyz")
    assert "1 of 6 snapshots" in message and message.count("\n") == 1
    assert "\n  snapshot 2, line 7: 4 atoms need more memory than there is (Mem" in message
    assert sources(tmp_path / "out.xyz") == [1, 3, 4, 5, 6]
    near, far = snapshots(tmp_path / "out.xyz")[1:3]
    assert near.get_potential_energy() < far.get_potential_energy()


def test_memory_that_is_not_there_is_not_asked_for(tmp_path, monkeypatch):
    """The system would kill the process, and the other snapshots with it."""
    for module in (experiments.tasks.molecules.predict, batches):
        monkeypatch.setattr(module, "LARGE", 3)
    # As if four atoms were too many to evaluate two molecules at once.
    monkeypatch.setattr(batches, "PAIRS", 16)
    asked, free = [], {"bytes": 100}

    def free_memory():
        asked.append(len(ase.io.read(tmp_path / "out.xyz.part", ":", format="extxyz")))
        return free["bytes"]

    monkeypatch.setattr(batches, "free_memory", free_memory)
    large = "4\n\nH 0 0 0\nH 0 0 1\nH 0 1 0\nH 1 0 0\n"
    path = written(tmp_path / "in.xyz", [*waters(2), large, waters(1)[0]])
    potential = TinyPotential()
    message = failing(potential, path, tmp_path / "out.xyz")
    assert "snapshot 3, line 12: 4 atoms need more memory" in message and "GB are free" in message
    assert sources(tmp_path / "out.xyz") == [1, 2, 4]
    # What came before is written by then.
    assert asked == [2]
    free["bytes"] = 10**9
    run(potential, path, tmp_path / "out.xyz", overwrite=True)
    assert sources(tmp_path / "out.xyz") == [1, 2, 3, 4]


def test_where_reading_or_writing_fails_the_other_snapshots_are_there(
    tmp_path, potential, monkeypatch
):
    stream, write = experiments.tasks.molecules.predict.stream_snapshots, as_extended_xyz

    def ends(path, split):
        yield from itertools.islice(stream(path, split), 3)
        raise MemoryError("of the reader")

    def fails(number, prediction, **options):
        if number == 2:
            raise RuntimeError("of the\nwriter")
        return write(number, prediction, **options)

    monkeypatch.setattr(experiments.tasks.molecules.predict, "stream_snapshots", ends)
    monkeypatch.setattr(experiments.tasks.molecules.predict, "as_extended_xyz", fails)
    path = written(tmp_path / "in.xyz", waters(5))
    message = failing(potential, path, tmp_path / "out.xyz")
    _, second, last = message.splitlines()
    assert second.startswith("  snapshot 2, line 7: 3 atoms ") and "of the writer" in second
    assert last.startswith("  snapshot 4: ") and "(MemoryError: of the reader)" in last
    assert sources(tmp_path / "out.xyz") == [1, 3]


def test_what_a_file_says_is_kept_and_what_is_replaced_is_named(tmp_path, potential):
    atoms = molecule("H2O")
    atoms.set_tags([3, 4, 5])
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    atoms.info = {"name": "one", "energy_unit": "eV"}
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    ase.io.write(tmp_path / "in.xyz", [atoms, atoms], format="extxyz")
    said = run(potential, tmp_path / "in.xyz", tmp_path / "out.xyz")
    (line,) = [line for line in said.splitlines() if line.startswith("not taken over")]
    assert line.endswith(": energy_unit, energy")
    for index, found in enumerate(snapshots(tmp_path / "out.xyz"), start=1):
        assert found.info == {"source_snapshot": index, "name": "one"}
        assert found.get_tags().tolist() == [3, 4, 5]
        np.testing.assert_array_equal(found.arrays["REF_forces"], 1)
        assert found.get_potential_energy() < -100


def test_an_integer_in_a_comment_is_not_taken_for_a_snapshot(tmp_path, potential):
    texts = [text.replace("\n\n", f"\n{1 + index}\n", 1) for index, text in enumerate(waters(4))]
    texts[1] = "7" + texts[1][1:]
    path = written(tmp_path / "in.xyz", texts)
    message = failing(potential, path, tmp_path / "out.xyz")
    assert "1 of 4 snapshots" in message and "line 11)" in message
    assert sources(tmp_path / "out.xyz") == [1, 3, 4]


def test_an_atom_more_than_announced_is_neither_cut_off_nor_a_snapshot(tmp_path, potential):
    texts = waters(3)
    texts[1] = "2" + texts[1][1:]
    message = failing(potential, written(tmp_path / "in.xyz", texts), tmp_path / "out.xyz")
    assert "1 of 3 snapshots" in message and "\n  snapshot 2, line 10: " in message
    assert sources(tmp_path / "out.xyz") == [1, 3]


def test_units_of_labels_and_splits_of_arrays_do_not_matter(tmp_path, potential):
    atoms = molecule("H2O")
    arrays = {"z": atoms.numbers, "e_unit": "kcal/mol", "r_unit": "Ang"}
    for split, count in (("train", 3), ("test", 2)):
        arrays[f"R_{split}"] = atoms.positions + np.zeros((count, 1, 1))
    np.savez(tmp_path / "in.npz", **arrays)
    assert "split" in failing(potential, tmp_path / "in.npz", tmp_path / "out.xyz", DataError)
    run(potential, tmp_path / "in.npz", tmp_path / "out.xyz", split="test")
    assert sources(tmp_path / "out.xyz") == [1, 2]
    path = written(tmp_path / "in.xyz", waters(1))
    failing(potential, path, tmp_path / "other.xyz", UsageError, split="test")


def test_energies_with_an_unknown_constant_are_warned_of_once(tmp_path, potential, monkeypatch):
    monkeypatch.setattr(TinyPotential, "determined", lambda self, numbers: 8 in numbers)
    bare = [WATER.format(0.1).replace("O", "C"), WATER.format(0.2).replace("O", "N")]
    path = written(tmp_path / "in.xyz", [*waters(1), *bare])
    with pytest.warns(
        UserWarning, match=r"snapshot 2, line 7: no training .*\(2 of 3 snapshots\)"
    ) as caught:
        run(potential, path, tmp_path / "out.xyz")
    assert sum(warning.category is UserWarning for warning in caught) == 1
    assert sources(tmp_path / "out.xyz") == [1, 2, 3]


def test_of_many_failures_the_numbers_of_all_are_listed(tmp_path, potential):
    texts = [text.replace("O", "Q") if n != 70 else text for n, text in enumerate(waters(80))]
    message = failing(potential, written(tmp_path / "in.xyz", texts), tmp_path / "out.xyz")
    lines = message.splitlines()
    assert len(lines) == 52
    assert lines[-2].startswith("  snapshot 50, line 248: ") and "'Q'" in lines[-2]
    assert lines[-1] == "  and 29 more, snapshots 51-70, 72-80"


def test_zeros_on_the_disk_cost_the_snapshots_they_are_in(tmp_path, potential):
    texts = waters(20)
    texts[6] = texts[6].replace("0.763", "0.\x0063")
    path = written(tmp_path / "in.xyz", [*texts, "\0" * 512])
    message = failing(potential, path, tmp_path / "out.xyz")
    assert "2 of 21 snapshots" in message and "snapshot 7, line 34" in message
    assert len(max(message.splitlines(), key=len)) < 700
    assert sources(tmp_path / "out.xyz") == [*range(1, 7), *range(8, 21)]


def test_a_snapshot_of_an_archive_without_elements_costs_that_snapshot_alone(tmp_path, potential):
    positions = np.stack([molecule("H2O").positions + 1e-3 * n for n in range(6)])
    numbers = np.tile(molecule("H2O").numbers, (6, 1))
    numbers[1, 0], numbers[3, 1], numbers[4] = 200, 0, 0
    np.savez(tmp_path / "in.npz", R=positions, z=numbers)
    message = failing(potential, tmp_path / "in.npz", tmp_path / "out.xyz")
    assert "3 of 6 snapshots" in message
    assert re.search(r"\n  snapshot 2: .*\[-1, 1, 1\]", message)
    assert re.search(r"\n  snapshot 4: .*\[8, 0, 1\]", message)
    assert sources(tmp_path / "out.xyz") == [1, 3, 6]


def test_what_a_snapshot_says_of_itself_is_kept_or_left_out_but_harms_no_energy(
    tmp_path, potential
):
    info = {
        "smiles": r"C/C=C\C",
        "folder": "C:\\x\\",
        "quoted": 'a "b" {c}',
        "count": 3,
        "empty": "",
        "two": "a\tb",
        "lines": "a b\nc",
        "k=ey": "a",
        "half": "\ud800",
    }
    atoms = molecule("H2O")
    atoms.info = dict(info)
    ase.io.write(tmp_path / "in.traj", atoms)
    with pytest.warns(UserWarning, match="left out: empty, two, lines, k=ey, half$"):
        run(potential, tmp_path / "in.traj", tmp_path / "out.xyz")
    (found,) = snapshots(tmp_path / "out.xyz")
    assert np.isfinite(found.get_potential_energy())
    kept = {key: info[key] for key in ("smiles", "folder", "quoted", "count")}
    assert found.info == kept | {"source_snapshot": 1}


def test_a_large_molecule_has_lists_of_neighbours_and_the_same_forces(
    tmp_path, potential, monkeypatch
):
    path = written(tmp_path / "in.xyz", waters(2))
    run(potential, path, tmp_path / "together.xyz")
    # As if three atoms were too many to evaluate two molecules at once.
    monkeypatch.setattr(batches, "PAIRS", 9)
    capacities = []
    listed = TinyPotential()

    def neighbours(positions, species, *, capacity):
        capacities.append(capacity)
        return TinyPotential.neighbours(listed, positions, species, capacity=capacity)

    monkeypatch.setattr(listed, "neighbours", neighbours, raising=False)
    run(listed, path, tmp_path / "alone.xyz")
    assert len(capacities) == listed.traces == 1
    for alone, together in zip(
        snapshots(tmp_path / "alone.xyz"), snapshots(tmp_path / "together.xyz"), strict=True
    ):
        # Eight epsilons of float32, of forces of about an eV/Angstrom.
        np.testing.assert_allclose(alone.get_forces(), together.get_forces(), atol=1e-6)
        assert alone.get_potential_energy() == pytest.approx(together.get_potential_energy())


def test_a_file_that_is_removed_meanwhile_is_missed_at_once(tmp_path, monkeypatch, potential):
    monkeypatch.setattr(experiments.tasks.molecules.predict, "_WINDOW", 4)
    append = PredictionFile.append

    def removed(self, predictions):
        append(self, predictions)
        self.part.unlink(missing_ok=True)

    monkeypatch.setattr(PredictionFile, "append", removed)
    path = written(tmp_path / "in.xyz", waters(12))
    message = failing(potential, path, tmp_path / "out.xyz", UsageError)
    assert re.search(r"out\.xyz\.part: .*4 snapshots", message)


def test_a_name_that_is_too_long_and_a_pipe_are_one_error(tmp_path, potential):
    for ending in ("xyz", "npz"):
        path = tmp_path / f"{'x' * 300}.{ending}"
        message = failing(potential, path, tmp_path / "out.xyz", DataError)
        assert message.startswith(f"{path}: ") and "File name too long" in message
    os.mkfifo(tmp_path / "pipe.xyz")
    message = failing(potential, tmp_path / "pipe.xyz", tmp_path / "out.xyz", DataError)
    assert "pipe.xyz: must be" in message and "no regular file" in message
    path = written(tmp_path / "in.xyz", waters(1))
    message = failing(potential, path, tmp_path / f"{'x' * 300}.xyz", UsageError)
    assert f"{'x' * 300}.xyz" in message and "File name too long" in message


def test_where_nothing_can_be_predicted_nothing_is_written(tmp_path, potential):
    old = written(tmp_path / "old.xyz", "what was there before")
    path = written(tmp_path / "in.xyz", waters(1)[0].replace("O", "Q"))
    assert "nothing is written" in failing(potential, path, old, overwrite=True)
    for content, part in (("", "at least one molecule"), ("\0", "binary data")):
        written(path, content)
        assert part in failing(potential, path, old, DataError, overwrite=True)
    assert "no such file" in failing(potential, tmp_path / "no.xyz", tmp_path / "a.xyz", DataError)
    assert old.read_text() == "what was there before"
    assert sorted(os.listdir(tmp_path)) == ["in.xyz", "old.xyz"]


@pytest.mark.parametrize("ending", ["traj", "db", "xyz.gz", "npz", "json"])
def test_other_kinds_of_files_are_read_one_by_one(tmp_path, potential, ending):
    images = [molecule("H2O") for _ in range(4)]
    for index, image in enumerate(images):
        image.positions[0, 2] += 1e-3 * index
    images[2].positions[1, 1] = 0.7 if ending == "xyz.gz" else np.nan
    images[2].numbers[0] = 9
    path = tmp_path / f"in.{ending}"
    if ending == "npz":
        positions = np.stack([np.pad(image.positions, ((0, 1), (0, 0))) for image in images])
        numbers = np.stack([np.pad(image.numbers, (0, 1)) for image in images])
        np.savez(path, R=positions, z=numbers)
    else:
        ase.io.write(path, images)
    message = failing(potential, path, tmp_path / "out.extxyz")
    assert "1 of 4 snapshots" in message and "\n  snapshot 3" in message
    assert ("not trained on" if ending == "xyz.gz" else "of atom 2 ") in message
    assert sources(tmp_path / "out.extxyz") == [1, 2, 4]
    for atoms in snapshots(tmp_path / "out.extxyz"):
        original = images[atoms.info["source_snapshot"] - 1]
        np.testing.assert_allclose(atoms.positions, original.positions, atol=1e-8)


def test_a_damaged_snapshot_of_a_database_or_trajectory_costs_that_snapshot_alone(
    tmp_path, potential
):
    images = [molecule("H2O") for _ in range(3)]
    ase.io.write(tmp_path / "in.db", images)
    with (
        ase.db.connect(tmp_path / "in.db") as database,
        database.managed_connection() as connection,
    ):
        connection.execute("UPDATE systems SET positions = X'00' WHERE id = 2")
    images[1].info["note"] = "mend me"
    ase.io.write(tmp_path / "in.traj", images)
    content = (tmp_path / "in.traj").read_bytes()
    (tmp_path / "in.traj").write_bytes(content.replace(b'"mend me"', b'"mend me '))
    for ending in ("db", "traj"):
        out = tmp_path / f"{ending}.xyz"
        message = failing(potential, tmp_path / f"in.{ending}", out)
        assert "1 of 3 snapshots" in message and "\n  snapshot 2: " in message
        assert sources(out) == [1, 3]


def test_other_files_end_with_their_first_defect_and_keep_what_came_before(tmp_path, potential):
    path = tmp_path / "in.pdb"
    ase.io.write(path, [molecule("H2O") for _ in range(3)])
    lines = path.read_text().splitlines(keepends=True)
    place = [n for n, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))][4]
    lines[place] = lines[place].replace(lines[place][30:38], "  broken")
    written(path, lines)
    images = ase.io.iread(path)
    kept = 0
    with pytest.raises(Exception):  # noqa: B017
        for kept, _ in enumerate(images, start=1):  # noqa: B007
            pass
    message = failing(potential, path, tmp_path / "out.xyz")
    assert re.search(rf"\n  snapshot {kept + 1}: .*what follows", message)
    assert kept == 0 or sources(tmp_path / "out.xyz") == list(range(1, kept + 1))


def test_what_is_there_already_is_not_overwritten_unasked(tmp_path, potential):
    path = written(tmp_path / "in.xyz", waters(2))
    old = written(tmp_path / "old.xyz", "precious")
    part = written(tmp_path / "new.xyz.part", "precious too")
    (tmp_path / "folder.xyz").mkdir()
    for output, message in [
        (old, r"old\.xyz: .*--overwrite"),
        (tmp_path / "new.xyz", r"new\.xyz\.part: .*--overwrite"),
        (tmp_path / "new.traj", r"\.xyz or \.extxyz, got '\.traj'"),
        (tmp_path / "folder.xyz", "a folder"),
        (path / "new.xyz", "cannot be written"),
    ]:
        with pytest.raises(UsageError, match=message):
            run(potential, path, output)
    with pytest.raises(UsageError, match="in.xyz: must be another file"):
        run(potential, path, path, overwrite=True)
    assert old.read_text() == "precious" and part.read_text() == "precious too"
    assert path.read_text() == "".join(waters(2))
    for output in (old, tmp_path / "new.xyz"):
        run(potential, path, output, overwrite=True)
        assert sources(output) == [1, 2]
    assert not part.exists()


class Ending(TinyPotential):
    """Does something when the tenth energy is asked for."""

    def __init__(self, act):
        super().__init__()
        self.asked, self.act = 0, act

    def reference(self, numbers):
        self.asked += 1
        if self.asked == 10:
            self.act()
        return super().reference(numbers)


def test_a_process_that_dies_leaves_whole_snapshots(tmp_path, monkeypatch):
    def die():
        raise SystemExit

    monkeypatch.setattr(experiments.tasks.molecules.predict, "_WINDOW", 4)
    path = written(tmp_path / "in.xyz", waters(20))
    failing(Ending(die), path, tmp_path / "out.xyz", SystemExit)
    assert not (tmp_path / "out.xyz").exists()
    (tmp_path / "out.xyz.part").rename(tmp_path / "kept.xyz")
    assert sources(tmp_path / "kept.xyz") == list(range(1, 9))


def test_a_polite_kill_writes_what_is_done_and_says_where(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments.tasks.molecules.predict, "_WINDOW", 4)
    before = signal.getsignal(signal.SIGTERM)
    texts = waters(20)
    texts[1] = texts[1].replace("O", "Q")
    path = written(tmp_path / "in.xyz", texts)
    potential = Ending(lambda: os.kill(os.getpid(), signal.SIGTERM))
    message = failing(potential, path, tmp_path / "out.xyz", InterruptedRunError)
    part = tmp_path / "out.xyz.part"
    assert f"first 13 snapshots 12 are in {part}\n  snapshot 2, line 8: " in message
    part.rename(tmp_path / "kept.xyz")
    assert sources(tmp_path / "kept.xyz") == [1, *range(3, 14)]
    assert signal.getsignal(signal.SIGTERM) == before


def test_two_predictions_do_not_write_one_file(tmp_path, potential):
    path = written(tmp_path / "in.xyz", waters(2))
    with PredictionFile(tmp_path / "out.xyz", overwrite=True) as first:
        first.append([])
        for overwrite in (False, True):
            with (
                pytest.raises(UsageError, match="another process writes it"),
                PredictionFile(tmp_path / "out.xyz", overwrite),
            ):
                pass
        assert first.part.exists()
    run(potential, path, tmp_path / "out.xyz")
    assert sources(tmp_path / "out.xyz") == [1, 2]


def test_a_full_disk_leaves_whole_snapshots(tmp_path, monkeypatch, potential):
    monkeypatch.setattr(experiments.tasks.molecules.predict, "_WINDOW", 4)
    synced = []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    texts = waters(21)
    texts[1] = texts[1].replace("O", "Q")
    path = written(tmp_path / "in.xyz", texts)
    message = failing(potential, path, tmp_path / "out.xyz", UsageError)
    assert "No space left on device" in message and "it holds 8 snapshots" in message
    assert "\n  snapshot 2, line 8: " in message
    (tmp_path / "out.xyz.part").rename(tmp_path / "kept.xyz")
    assert sources(tmp_path / "kept.xyz") == [1, *range(3, 10)]


def test_cells_cost_an_error_unless_they_are_ignored_and_tables_alone_are_read(tmp_path, potential):
    boxed = waters(3)[0].replace("\n\n", '\nLattice="9 0 0 0 9 0 0 0 9"\n', 1)
    path = written(tmp_path / "in.xyz", [waters(1)[0], boxed])
    message = failing(potential, path, tmp_path / "refused.xyz")
    assert "1 of 2 snapshots" in message and message.count("atoms.pbc must be False") == 1
    assert "snapshot 2, line 7: " in message and "--ignore-cells" in message
    assert sources(tmp_path / "refused.xyz") == [1]
    run(potential, path, tmp_path / "out.xyz", ignore_cells=True)
    first, second = snapshots(tmp_path / "out.xyz")
    np.testing.assert_array_equal(second.cell, 9 * np.eye(3))
    assert second.pbc.all() and second.info["cell_ignored"] and "cell_ignored" not in first.info
    assert first.get_potential_energy() == second.get_potential_energy()

    bare = written(tmp_path / "bare.xyz", waters(1)[0].split("\n\n")[1])
    with pytest.warns(UserWarning, match="snapshot 1, line 1: "):
        run(potential, bare, tmp_path / "bare_out.xyz")
    assert len(snapshots(tmp_path / "bare_out.xyz")[0]) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run(potential, written(path, waters(1)), tmp_path / "fine.xyz")
    cut = written(tmp_path / "cut.xyz", "".join(waters(2))[:-2])
    with pytest.warns(UserWarning, match="the last, has no newline"):
        run(potential, cut, tmp_path / "cut_out.xyz")
