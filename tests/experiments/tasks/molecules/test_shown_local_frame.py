"""What an atom sees, with the elements of its local frame: measured, printed and drawn."""

import re

import ase.build
import ase.io
import jax
import numpy as np
import pytest

import symjax_frames as sf
from experiments.commands.main import main
from experiments.errors import UsageError
from experiments.tasks.molecules import measured_local_frame
from experiments.tasks.molecules.data.structures import read_structure
from experiments.tasks.molecules.environment import environment_of
from experiments.tasks.molecules.measured_frames import canonical_forms
from tests.helpers.pictures import assert_drawn, words_in_pictures

CUTOFF = 3.5
"""Angstrom, within which an atom of silicon sees four others: most tests share one program."""


def silicon():
    return ase.build.bulk("Si", cubic=True)


def measured(environment):
    # As the command, which has its program compiled.
    with jax.enable_x64(True):
        return measured_local_frame.measured_local_frame("E", environment)


def test_an_atom_of_a_crystal_is_drawn(tmp_path, capsys, monkeypatch):
    pytest.importorskip("plotly", reason="plotly makes the page")
    words = words_in_pictures(monkeypatch)
    options = ["--frame", "local", "--atom", "3", "--cutoff", str(CUTOFF)]

    assert main(["frames", "Si", *options, "--out", str(tmp_path)]) == 0

    printed = capsys.readouterr().out
    assert "24 elements, 1 canonical form\n4 neighbours within 3.5 Å, at 2.35" in printed
    assert re.search(r"^1 +Si\d +(-?\d +){3}2\.3513$", printed, re.MULTILINE)
    assert_drawn(tmp_path / "Si_atom_3.png")
    assert words[tmp_path / "Si_atom_3.png"] >= {"Si: what Si3 sees within 3.5 Å", "1, 2, +", "4"}
    page = (tmp_path / "Si_atom_3.html").read_text("utf-8")
    assert "plotly.js v" in page, "the program is in the page"
    assert re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=", page[-3_000_000:]) is None
    assert "the canonical environment (" in page and "canonical molecule" not in page


def test_an_atom_sees_images_wherever_it_is_in_its_cell():
    atoms = ase.build.bulk("Cu")
    seen = environment_of("Cu", atoms, 1, 4.0)
    distances = np.linalg.norm(seen.vectors, axis=1)
    np.testing.assert_allclose(distances, 3.61 * np.repeat([np.sqrt(0.5), 1], [12, 6]))
    np.testing.assert_allclose(seen.vectors, seen.images @ atoms.cell.array, atol=1e-12)

    crystal = silicon()
    moved = silicon()
    moved.positions[4] += moved.cell[0] - 2 * moved.cell[2]
    one, other = (environment_of("Si", each, 5, 4.0) for each in (crystal, moved))
    nearest = [np.sort(each.vectors[:4], axis=0) for each in (one, other)]
    np.testing.assert_allclose(*nearest, atol=1e-9)
    crystal.pbc = False
    alone = environment_of("Si", crystal, 5, 4.0)
    assert len(alone.vectors) < len(one.vectors) and not alone.images.any()


@pytest.mark.parametrize(("pbc", "edges"), [((1, 1, 1), 12), ((1, 1, 0), 4), ((0, 0, 0), 0)])
def test_the_cell_is_the_one_that_the_atom_is_in(pbc, edges):
    atoms = ase.build.bulk("Cu")
    atoms.positions += [0.3, 7.0, -4.0]
    atoms.pbc = np.array(pbc, bool)
    seen = environment_of("Cu", atoms, 1, 4.0)

    assert seen.cell.shape == (edges, 2, 3)
    lengths = np.linalg.norm(seen.cell[:, 1] - seen.cell[:, 0], axis=1)
    np.testing.assert_allclose(lengths, 3.61 / np.sqrt(2))
    if edges == 12:
        inverse = np.linalg.inv(atoms.cell.array)
        steps = (seen.cell.reshape(-1, 3) - atoms.positions[0]) @ inverse
        assert np.all(steps.min(axis=0) <= 0) and np.all(steps.max(axis=0) > 0)
        np.testing.assert_allclose(np.ptp(steps, axis=0), 1)


def test_canonical_forms_are_those_of_the_moved_crystal():
    atoms, shaken = silicon(), silicon()
    draw = np.random.default_rng(1)
    atoms.positions[:4] += 0.05 * draw.normal(size=(4, 3))
    shaken.positions[:4] += 0.05 * draw.normal(size=(4, 3))
    matrix = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    same = []
    for crystal in (atoms, shaken):
        crystal = crystal.copy()
        crystal.set_cell(crystal.cell.array @ matrix.T, scale_atoms=True)
        one, other = (environment_of("Si", each, 5, CUTOFF) for each in (atoms, crystal))
        assert len(one.vectors) == len(other.vectors) == 4
        frames = [measured(each) for each in (one, other)]
        both = np.concatenate([frames[0].linear, matrix.T @ frames[1].linear])
        found = canonical_forms(both, one.positions - one.positions[0], one.numbers)
        count = len(frames[0].linear)
        same.append(set(found[:count]) == set(found[count:]))

    assert same == [True, False]


def test_axes_that_nothing_fixes_are_told():
    seen = environment_of("Si", silicon(), 1, CUTOFF)
    line = seen._replace(positions=np.outer([0, 1, 1.5, -1, 2], [1.0, 1.0, 0.2]))
    at_the_cutoff = seen._replace(positions=CUTOFF * np.eye(5, 3, -1))
    at_the_cutoff.positions[4] = -at_the_cutoff.positions[1]

    assert measured(seen).warning == ""
    assert "on a line" in measured(line).warning
    assert "nothing is within" in measured(at_the_cutoff).warning


def test_an_atom_without_neighbours_has_labels_too():
    frame = measured(environment_of("H", ase.Atoms("H"), 1, CUTOFF))
    assert set(frame.labels) == {"any, any, +", "any, any, −"}
    assert "nothing is within" in frame.warning


def test_room_is_made_for_all_elements(monkeypatch):
    """What is needed rises with the room for the first axes, as it does in the library."""
    asked = []
    isometry = sf.Isometry(np.eye(3)[None, None], np.zeros((1, 1, 3)))
    frame = sf.Frame(isometry, np.ones((1, 1)))

    def diagnose(*_, capacity=(12, 12), max_elements=96, **__):
        asked.append((capacity, max_elements))
        needed = 144 if capacity[0] < 18 else 192
        dropped = float(capacity[0] < 18 or max_elements < needed)
        return sf.frames.LocalDiagnostics(
            *(np.array([134]), np.array([[18, 8]]), np.array([needed]), np.array([dropped]))
        )

    monkeypatch.setattr(sf.frames, "local_diagnostics", diagnose)
    seen = environment_of("Si", silicon(), 1, CUTOFF)
    monkeypatch.setattr(
        measured_local_frame.sf,
        "local_frames",
        lambda *_, **options: asked.append(options) or frame,
    )

    assert measured(seen).warning == ""
    assert asked[:3] == [((12, 12), 96), ((18, 18), 144), ((18, 18), 192)]
    assert asked[3] == {"group": "E", "capacity": (18, 18), "max_elements": 192}
    monkeypatch.setattr(measured_local_frame, "_ROUNDS", 1)
    assert "this is no frame" in measured(seen).warning


def test_structures_are_read_with_their_cells(tmp_path):
    slab = ase.Atoms("Cu2", [[0, 0, 0], [0, 1.8, 1.8]], cell=[3.6, 3.6, 0], pbc=[1, 1, 0])
    ase.io.write(tmp_path / "slab.extxyz", slab)
    name, slab = read_structure(str(tmp_path / "slab.extxyz"))
    assert (name, slab.pbc.tolist()) == ("slab", [True, True, False])
    assert len(read_structure("Mg")[1]) == 2
    rocksalt = read_structure("NaCl")[1]
    assert rocksalt.pbc.all() and rocksalt.get_chemical_formula() == "Cl4Na4"
    assert not read_structure("CO2")[1].pbc.any()


def test_mistakes_are_explained(tmp_path, capsys):
    path = tmp_path / "a.extxyz"
    path.write_text('1\nProperties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\n')
    for arguments, message in (
        (["Si", "--atom", "9"], "--atom: must be from 1 to 8 for Si, got 9"),
        (["Si", "--cutoff", "-1"], "--cutoff: .*positive.* -1"),
        (["Cu", "--cutoff", "15"], r"--cutoff: .*200 neighbours .*got \d+ within 15"),
        ([str(path)], "a.extxyz: .*cell must have a vector in each direction that repeats"),
        (["unobtainium"], "unobtainium: .*crystals are elements"),
    ):
        options = ["--frame", "local", "--out", str(tmp_path / "out")]
        assert main(["frames", *arguments, *options]) == 2
        assert re.search(f"error: .*{message}", capsys.readouterr().err), message
    assert main(["frames", "Si", "--frame", "pca", "--atom", "2"]) == 2
    assert "--atom: must come with --frame local" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="--atom"):
        environment_of("Si", silicon(), 0, CUTOFF)
