"""The benchmark of crystals, with effective-medium theory in the place of networks."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from rich.console import Console

from experiments.benchmarks import crystals
from experiments.benchmarks.crystals import (
    elasticity,
    growth,
    phonons,
    prototypes,
    space_groups,
    trained,
)
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder

pytest.importorskip("spglib")
pytest.importorskip("phonopy")


class Skewed(EMT):
    """Forces and stresses that have one axis."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["forces"] = self.results["forces"] * [1.1, 1, 1]
        self.results["stress"] = self.results["stress"] * [1.1, 1, 1, 1, 1, 1]
        self.results["stress"][0] += 0.01


class Picky(EMT):
    """Knows single atoms in a cell alone."""

    def calculate(self, atoms, *arguments, **options):
        if len(atoms) > 1:
            raise UsageError("too many")
        super().calculate(atoms, *arguments, **options)


FRAMES = {"local": EMT(), "none": Skewed()}


def test_prototypes_have_neighbours_at_one_distance_and_strains_keep_their_symmetry():
    generator = np.random.default_rng(0)
    found = prototypes.prototypes(1)
    assert len(found) > 20 and len({prototypes.space_group(a, 1e-5) for a in found.values()}) > 12
    changed = 0
    for atoms in found.values():
        other = prototypes.strained(atoms, generator)
        group = prototypes.space_group(atoms, 1e-5)
        assert prototypes.space_group(other, 1e-9) == group
        assert abs(other.get_volume() / atoms.get_volume() - 1) > 1e-4
        ratios = other.cell.lengths() / atoms.cell.lengths()
        changed += np.ptp(ratios) > 1e-3
        if group > 2:
            drawn = np.eye(3) + 0.05 * generator.normal(size=(3, 3))
            other.set_cell(other.cell.array @ drawn, scale_atoms=True)
            assert prototypes.space_group(other, 1e-5) != group
    assert changed > 3


def test_a_symmetric_energy_keeps_space_groups_and_a_skewed_one_loses_them():
    start = prototypes.strained(bulk("Cu", "hcp", a=2.55), np.random.default_rng(0))
    found = {name: space_groups.relaxed("Cu hcp", start, one, 100) for name, one in FRAMES.items()}
    kept, lost = found.values()
    assert kept.kept and kept.before == 194 and kept.converged and kept.tolerance <= 1e-8
    assert not lost.kept and lost.converged and (lost.tolerance or 1) > 1e-3
    table = space_groups.table_of({name: [one] for name, one in found.items()})
    assert [row[3] for row in table.rows] == ["1", "0"] and "Cu hcp: 194 to" in table.rows[1][-1]


def test_crystals_of_a_run_have_its_elements_alone_and_come_once():
    found = prototypes.prototypes_of((14,))
    assert len(found) > 12 and {*np.concatenate([one.numbers for one in found.values()])} == {14}
    keys = [(prototypes.space_group(one, 1e-5), len(one)) for one in found.values()]
    # Of each space group and number of atoms one, as kinds that are another one are left out.
    assert len({*keys}) == len(keys) and {(225, 1), (227, 2), (229, 1), (223, 8)} <= {*keys}
    for atoms in found.values():
        assert atoms.get_volume() / len(atoms) == pytest.approx(bulk("Si").get_volume() / 2)
    both = prototypes.prototypes_of((29, 79))
    assert prototypes.space_group(both["AuCu zincblende"], 1e-5) == 216 and "Cu fcc" in both
    names = prototypes.cubic_elements((8, 14, 22, 42))
    assert list(names) == ["Si diamond", "Mo bcc"]


def test_a_run_relaxes_what_it_can_and_says_what_it_refuses(monkeypatch):
    cubes = {"Cu fcc": bulk("Cu")} | {"Cu hcp": bulk("Cu", "hcp", a=2.55)}
    for module in (space_groups, phonons):
        known = trained.Trained(Picky(), (29,), "local")
        monkeypatch.setattr(module, "trained", lambda run, known=known: known)
    monkeypatch.setattr(space_groups, "prototypes_of", lambda elements: cubes)
    found = space_groups.measure(Console(), RunFolder("it"), None, 50, crystals.Sizes(), 0)
    kept, refused = found["local"]
    assert kept.kept and not refused.kept and refused.refused == "too many"
    [row] = space_groups.table_of(found).rows
    assert row[:4] == ["local", "2", "1", "1"] and row[-1] == "-"
    seen = []
    monkeypatch.setattr(phonons, "splits", lambda atoms, *rest: seen.append(str(atoms.symbols)))
    phonons.measure(Console(), RunFolder("it"), crystals.Sizes(), 0, 1, 1e-3)
    assert seen == ["Cu"]
    known = trained.Trained(Picky(), (8, 22), "local")
    monkeypatch.setattr(phonons, "trained", lambda run: known)
    with pytest.raises(UsageError, match="it: must be a potential of an element that is fcc"):
        phonons.measure(Console(), RunFolder("it"), crystals.Sizes(), 0, 1, 1e-3)


def test_the_cube_of_a_lattice_is_made_of_its_vectors():
    for name in ("Cu", "Mo", "Si", "Po"):
        atoms = bulk(name)
        cube = phonons._corners(atoms.cell.array) @ atoms.cell.array
        np.testing.assert_allclose(cube, cube[0, 0] * np.eye(3), atol=1e-12)
    with pytest.raises(ValueError, match="cubic lattice"):
        phonons._corners(bulk("Ti").cell.array)


def test_branches_of_symmetric_forces_are_degenerate_and_those_of_skewed_ones_split():
    atoms, waves = phonons.CRYSTALS["Cu fcc"]
    whole, split = (phonons.splits(atoms, waves, one, 1, 1e-3) for one in FRAMES.values())
    assert max(whole.acoustic, split.acoustic) < 1e-4
    assert max(whole.branches, whole.waves) < 1e-4 < 1e-2 < min(split.branches, split.waves)
    # As measured, some 7 THz.
    assert whole.highest == pytest.approx(7, abs=2)


def test_degeneracies_are_taken_in_the_order_that_splits_least():
    assert phonons._split(np.array([3.0, 1.0, 1.5]), (2, 1)) == 0.5
    assert phonons._split(np.array([1.0, 2.5, 3.0]), (2, 1)) == 0.5
    assert phonons._split(np.array([1.0, 2.5, 3.0]), (3,)) == 2


def test_bulk_moduli_of_energies_and_of_stresses_agree_unless_these_are_no_slopes():
    atoms = bulk("Cu", a=3.6)
    found, skewed = (elasticity.elasticity(atoms, one) for one in FRAMES.values())
    assert found.from_constants == pytest.approx(found.bulk_modulus, rel=0.01)
    # What effective-medium theory is known to say of copper.
    assert found.volume == pytest.approx(11.6, abs=0.1)
    assert (found.bulk_modulus, found.c44) == pytest.approx((134, 90), rel=0.1)
    assert skewed.from_constants != pytest.approx(skewed.bulk_modulus, rel=0.02)


def test_tables_are_printed_and_written(monkeypatch, tmp_path, capsys):
    kept = space_groups.Relaxation("Cu fcc", 1, 225, 225, 1e-10, 3, True)
    curve = (11.0, 11.3, 11.6, 11.9, 12.2), (0.04, 0.01, 0.0, 0.01, 0.04)
    stiff = elasticity.Elasticity(11.6, -0.0, 134.0, 170.0, 116.0, 90.0, *curve)
    bands = np.abs(phonons.PATH)
    for module in (space_groups, phonons, elasticity):
        monkeypatch.setattr(module, "untrained", lambda frame, *rest: frame)
    monkeypatch.setattr(space_groups, "prototypes", lambda most: {"Cu fcc": bulk("Cu")})
    monkeypatch.setattr(
        space_groups,
        "relaxed",
        lambda name, atoms, frame, steps: kept if frame == "local" else kept._replace(after=1),
    )
    monkeypatch.setattr(growth, "measure", lambda *rest: {4: growth.Cost(1.0, 0.1, 10**6)})
    monkeypatch.setattr(
        phonons, "splits", lambda *rest: phonons.Splits(1e-8, 2e-8, 3e-8, 7.0, bands)
    )
    monkeypatch.setattr(elasticity, "elasticity", lambda *rest: stiff)
    crystals.main(["--small", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "degenerate branches" in out and "bulk modulus, GPa" in out and "225 to 1" in out
    stored = json.loads((tmp_path / "crystals.json").read_text("utf-8"))
    found = {frame: one[0]["kept"] for frame, one in stored["space_groups"].items()}
    assert found == {"local": True, "none": False}
    assert stored["phonons"]["Si diamond"]["none"]["branches"] == 2e-8
    assert stored["elasticity"]["Cu fcc"]["from_constants"] == 134
    page = (tmp_path / "crystals.md").read_text("utf-8")
    assert len([line for line in page.splitlines() if line.startswith("| ---")]) == 4
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"phonons_Cu.png", "phonons_Si.png", "equation_of_state.png"}
