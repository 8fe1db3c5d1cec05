"""Sets in which some structures have no stress: slabs and molecules beside crystals."""

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from experiments.data.npz import DataError
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.data.examples import Part, make_examples
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.task import MoleculesTask
from tests.helpers.local_crystal import crystal
from tests.helpers.pair_crystal import REACH, PairCrystal

NEED = ("energies", "forces", "stresses")


def mixed(seed: int = 0, pbcs=(True, (True, True, False), False, True)) -> list[Atoms]:
    """Structures with energies and forces, and stresses where they repeat in all directions."""
    draw, found = np.random.default_rng(seed), []
    for pbc in pbcs:
        atoms = crystal(pbc=pbc)
        atoms.positions += 0.1 * draw.normal(size=(2, 3))
        results = {"energy": draw.normal(), "forces": draw.normal(size=(2, 3))}
        if atoms.pbc.all():
            results["stress"] = draw.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def read(path, structures):
    ase.io.write(path, structures)
    return read_molecules(path, stress_key="stress", need=NEED)


def test_what_has_no_volume_needs_no_stress_and_a_crystal_does(tmp_path):
    structures = mixed()
    found = read(tmp_path / "a.traj", structures)
    wanted = structures[0].get_stress(voigt=False)
    np.testing.assert_allclose(found.stresses[0], wanted)
    assert not found.stresses[1:3].any() and found.stresses[3].any()
    del structures[3].calc.results["stress"]
    message = "snapshot 4: stresses must be in every snapshot that repeats in all three .* got"
    with pytest.raises(DataError, match=message):
        read(tmp_path / "b.traj", structures)
    with pytest.raises(
        DataError, match="of cells that repeat in all .*, one of them at least, got"
    ):
        read(tmp_path / "c.traj", structures[1:3])


def test_a_stress_of_a_slab_is_warned_of_and_not_learnt(tmp_path):
    structures = mixed()
    structures[1].calc.results["stress"] = np.ones(6)
    with pytest.warns(UserWarning, match=r"snapshot 2: has stresses though .* \(1 of 4 snapshots"):
        found = read(tmp_path / "a.traj", structures)
    assert not found.stresses[1].any() and found.stresses[0].any()
    arrays = {
        "z": [14, 29],
        "R": np.array([atoms.positions for atoms in structures]),
        "E": np.zeros(4),
        "F": np.zeros((4, 2, 3)),
        "cell": crystal().cell.array,
        "pbc": np.array([atoms.pbc for atoms in structures]),
        "virial": np.where(np.arange(4)[:, None] % 3 == 0, 1.0, np.nan) * np.ones(6),
    }
    # Of arrays, which have a row for each, any number may stand for none.
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_molecules(tmp_path / "a.npz", virial_key="virial", need=NEED)
    volume = crystal().get_volume()
    np.testing.assert_allclose(found.stresses[0], -1 / volume)
    assert not found.stresses[1:3].any()


def test_each_set_has_a_stress_to_learn(tmp_path):
    whole = read(tmp_path / "a.traj", mixed())
    slabs = whole._replace(pbc=whole.pbc & np.array([True, True, False]))
    parts = {split: Part("it", np.arange(4), whole) for split in ("train", "valid", "test")}
    assert make_examples(parts)[0]["test"]["stress"].any()
    with pytest.raises(DataError, match="it: of the snapshots for test one at least .*, got none"):
        make_examples(parts | {"test": Part("it", np.arange(4), slabs)})


class Pairs(PairCrystal):
    def trained_batch(self, params):
        energies = self.with_spreads(params)
        return lambda keys, *structures: energies(*structures)[0]


def test_only_crystals_count_in_the_loss_and_the_error_of_stresses(tmp_path, monkeypatch):
    for seed, split in enumerate(("train", "valid", "test")):
        ase.io.write(tmp_path / f"{split}.traj", mixed(seed))
    paths = {f"{split}_path": str(tmp_path / f"{split}.traj") for split in ("valid", "test")}
    data = {"kind": "file", "path": str(tmp_path / "train.traj"), **paths, "stress_key": "stress"}
    counts = {"num_train": 4, "num_valid": 4, "num_test": 4}
    sections = {
        "data": data | counts,
        "model": {"frame": "none", "hidden": 2, "layers": 1, "cutoff": REACH},
        "train": {"epochs": 1, "stress_weight": 2.0, "batch_size": 4},
    }
    task = MoleculesTask(MoleculesConfig(task="molecules", run="unused", **sections))
    task.potential = task.trained_potential = Pairs()
    batch = task.splits["train"]
    crystals = batch["cell"].any(axis=2).all(axis=1)
    assert crystals.sum() == 2
    other = {
        name: batch
        | {"stress": batch["stress"] + np.float32(0.5) * rows[:, None, None].astype(np.float32)}
        for name, rows in (("crystals", crystals), ("others", ~crystals))
    }
    run = jax.jit(
        lambda batch: (task.loss(1.0, batch, jax.random.key(0)), task.evaluate(1.0, batch))
    )
    (loss, found), (changed, _), (same, _) = map(run, (batch, *other.values()))
    assert loss == same != changed
    means = task.summarized({name: jnp.mean(values) for name, values in found.items()})
    predicted = task.predict(1.0, batch)["stress"]
    errors = np.asarray(predicted - batch["stress"])[crystals] / ase.units.GPa
    assert means["stress_GPa"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert means["stress_rmse_GPa"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)
    assert "stress_components" not in means
