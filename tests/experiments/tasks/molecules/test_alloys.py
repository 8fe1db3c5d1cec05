"""Alloys of effective-medium theory: what is learnt of them is consistent, and made once."""

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT

from experiments.errors import UsageError
from experiments.tasks.molecules.data import alloys
from experiments.tasks.molecules.data.alloys import EMT_METALS, simulate_alloys
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.data_config import MoleculesDataConfig
from tests.helpers.paths import CONFIGS


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(alloys, "_CHUNK", 4)
    monkeypatch.setattr(alloys, "_STEPS", 3)


def made(cache, snapshots: int, **options):
    settings = {"temperature": 1500.0, "seed": 0, "progress": False} | options
    return simulate_alloys(["Au", "Cu"], snapshots=snapshots, cache=cache, **settings)


def test_stresses_are_the_slopes_of_energies_under_strain(tmp_path):
    found = made(tmp_path, 4)
    draw, step = np.random.default_rng(0), 1e-5
    for index in range(4):
        real = found.species[index] > 0
        skew = draw.normal(size=(3, 3))
        strain = step * (skew + skew.T)

        def energy(sign: int, index=index, real=real, strain=strain) -> float:
            atoms = Atoms(
                found.species[index][real],
                found.positions[index][real],
                cell=found.cells[index],
                pbc=found.pbc[index],
            )
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
            atoms.calc = EMT()
            return atoms.get_potential_energy()

        volume = np.abs(np.linalg.det(found.cells[index]))
        work = volume * np.sum(found.stresses[index] * strain)
        slope = (energy(1) - energy(-1)) / 2
        np.testing.assert_allclose(work, slope, rtol=1e-4, atol=1e-3 * step)
        # The other sign is no slope.
        assert abs(-work - slope) > 0.1 * step
        np.testing.assert_allclose(energy(0), found.energies[index], rtol=1e-12)


def test_snapshots_are_alloys_of_several_sizes_that_are_made_once(tmp_path, monkeypatch):
    found = made(tmp_path, 8)
    counts = np.sum(found.species > 0, axis=1)
    assert set(counts) <= {4, 8, 12, 16, 24, 32} and len(set(counts)) > 2
    assert set(np.unique(found.species)) == {0, 29, 79} and found.pbc.all()
    assert np.abs(found.forces[found.species > 0]).max() > 0.1
    assert not found.forces[found.species == 0].any()
    other = made(tmp_path, 4, seed=1)
    assert not np.array_equal(other.cells, found.cells[:4])
    monkeypatch.setattr(alloys, "_simulate", lambda key: pytest.fail("it was made again"))
    # Fewer are the beginning of more, in whatever order elements are named.
    for one, wanted in zip(made(tmp_path, 3), found, strict=True):
        if wanted is not None:
            np.testing.assert_array_equal(one, wanted[:3])


def test_sets_of_alloys_have_cells_and_stresses(tmp_path):
    options = {"kind": "emt", "temperature": 900.0, "cache": str(tmp_path), "num_train": 6}
    data = MoleculesDataConfig(**options, num_valid=1, num_test=1)
    splits, facts = load_molecules(**data.model_dump())
    assert facts.elements == (29, 79)
    for split, count in (("train", 6), ("valid", 1), ("test", 1)):
        arrays = splits[split]
        atoms = arrays["species"].shape[1]
        shapes = {"positions": (atoms, 3), "forces": (atoms, 3), "cell": (3, 3), "stress": (3, 3)}
        for name, shape in shapes.items():
            assert arrays[name].shape == (count, *shape) and arrays[name].dtype == np.float32
        assert arrays["pbc"].all() and arrays["pbc"].dtype == bool
    whole = simulate_alloys(
        ["Cu", "Au"], snapshots=8, temperature=900.0, seed=0, cache=tmp_path, progress=False
    )
    np.testing.assert_allclose(splits["train"]["cell"], whole.cells[2:], rtol=1e-6)
    energies = load_molecules(**data.model_dump() | {"targets": "energy"})[0]["train"]
    assert "stress" not in energies and "cell" in energies


@pytest.mark.parametrize(
    ("elements", "received"),
    [(["Cu", "Fe"], "Fe"), (["H"], "H"), (["Cupper"], "Cupper"), ([], "none")],
)
def test_elements_without_parameters_are_refused(tmp_path, elements, received):
    match = f"elements must be of {', '.join(EMT_METALS)}, got {received}"
    with pytest.raises(UsageError, match=match):
        simulate_alloys(elements, snapshots=1, temperature=1.0, seed=0, cache=tmp_path)
    with pytest.raises(ValueError, match="elements"):
        MoleculesDataConfig(kind="emt", elements=elements)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"kind": "emt", "targets": "dipole"}, "targets"),
        ({"kind": "emt", "molecule": "water"}, "molecule"),
        ({"kind": "emt", "elements": ["Cu", "Cu"]}, "elements"),
        ({"kind": "tblite", "elements": ["Cu"]}, "elements"),
        ({"kind": "emt", "stress_key": "stress"}, "stress_key"),
    ],
)
def test_what_alloys_do_not_read_is_refused(options, key):
    MoleculesDataConfig(kind="emt", elements=["Al", "Ni"], targets="energy", temperature=1.0)
    with pytest.raises(ValueError, match=f"(?s){key}.*must "):
        MoleculesDataConfig(**options)


def test_the_demonstration_makes_alloys():
    read = yaml.safe_load((CONFIGS / "alloy_demo.yaml").read_text())
    data = MoleculesDataConfig(**read["data"])
    assert data.kind == "emt" and data.elements == ("Cu", "Au") and data.num_train == 300
