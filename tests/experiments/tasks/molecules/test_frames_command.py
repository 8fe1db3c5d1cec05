"""The command `frames`: the tables, the picture and the page of a molecule with its frames."""

import contextlib
import io
import itertools
import re
from pathlib import Path

import ase.build
import ase.io
import jax
import numpy as np
import pytest
from matplotlib.image import imread

from experiments.commands.main import main
from experiments.tasks.molecules import measured_frames, shown_frames
from experiments.tasks.molecules.data.names import read_molecule
from experiments.tasks.molecules.figures.drawn_frame import DrawnFrame, fraction
from experiments.tasks.molecules.figures.molecule import molecule_frames
from experiments.tasks.molecules.figures.solids import Solid, arrow, ball_and_stick, move
from tests.helpers.browser import CHROMIUM, browse

PROBE = """
<script>
window.addEventListener('load', async () => {
  const page = document.getElementById('molecule');
  const shown = () => page.data.filter(trace => trace.showlegend && trace.visible === true).length;
  const button = text => [...page.querySelectorAll('.updatemenu-button')]
    .find(button => button.textContent === text);
  const seen = async () => {
    // A picture of the page, and how many of its pixels are blue as nitrogen, on each side.
    const image = new Image();
    image.src = await Plotly.toImage(page, {format: 'png', width: 1000, height: 500});
    await image.decode();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [1000, 500];
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    return [0, 400].map(left => {
      const data = pen.getImageData(left, 0, 400, 500).data;
      let count = 0;
      for (let at = 0; at < data.length; at += 4)
        if (data[at + 2] > 120 && data[at] < 90 && data[at + 1] < 110) count++;
      return count;
    });
  };
  const record = {};
  try {
    record.first = [shown(), await seen()];
    for (const text of ['robust_frame, E(3): all', 'hide all']) {
      button(text).dispatchEvent(new MouseEvent('click', {bubbles: true}));
      await new Promise(done => setTimeout(done, 300));
      record[text] = [shown(), await seen()];
    }
  } catch (error) { record.error = String(error); }
  record.loaded = performance.getEntriesByType('resource').map(entry => entry.name)
    .filter(name => !/^(data|blob):|favicon/.test(name));
  await fetch('/record', {method: 'POST', body: JSON.stringify(record)});
});
</script>
"""


@pytest.fixture(scope="module")
def pyridine(tmp_path_factory):
    """The folder that the command has written, with what it printed as `printed.txt`."""
    pytest.importorskip("plotly", reason="plotly makes the page")
    folder = tmp_path_factory.mktemp("frames")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["frames", "pyridine", "--out", str(folder)]) == 0
    (folder / "printed.txt").write_text(printed.getvalue(), "utf-8")
    return folder


def volume(solid):
    """The volume inside a closed surface, negative if it is inside out."""
    first, second, third, fourth = np.moveaxis(solid.vertices[solid.faces], 1, 0)
    halves = ((first, second, third), (first, third, fourth))
    return sum(np.sum(np.cross(a, b) * c) for a, b, c in halves) / 6


def measured(kind, atoms, group="E"):
    names = [f"{symbol}{number}" for number, symbol in enumerate(atoms.symbols, start=1)]
    return measured_frames.measured_frame(kind, group, atoms, names)


def test_a_molecule_is_drawn(pyridine):
    image = imread(pyridine / "pyridine.png")[..., :3]
    assert min(image.shape[:2]) > 800
    nitrogen = (image[..., 2] > 0.5) & (image[..., :2].max(axis=-1) < 0.4)
    assert nitrogen.mean() > 1e-4


def test_the_page_needs_no_network(pyridine):
    page = (pyridine / "pyridine.html").read_text("utf-8")
    assert "plotly.js v" in page, "the program is in the page"
    assert re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=", page[-3_000_000:]) is None
    assert re.search(r"<script[^>]*\ssrc\s*=", page[:5000]) is None


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_works_in_a_browser(pyridine, tmp_path):
    page = (pyridine / "pyridine.html").read_text("utf-8")
    record = browse(page.replace("</body>", f"{PROBE}</body>"), tmp_path)
    if "WebGL" in record.get("error", ""):
        pytest.skip("this Chromium has no WebGL")

    assert "error" not in record, record
    assert record["loaded"] == []
    assert [record[key][0] for key in ("first", "robust_frame, E(3): all", "hide all")] == [1, 4, 0]
    # The molecule stays; without elements there is no canonical molecule.
    left, right = zip(*(entry[1] for entry in record.values() if len(entry) == 2), strict=True)
    assert min(left) > 50
    assert min(right[:2]) > 50
    assert right[2] == 0


def test_the_tables_say_what_the_frames_are(pyridine, tmp_path, capsys, monkeypatch):
    text = (pyridine / "printed.txt").read_text("utf-8")
    assert "8 elements, 2 canonical forms" in text
    assert "4 elements, 1 canonical form\n" in text
    rows = [line.split() for line in text.splitlines() if re.match(r"\d+  ", line)]
    assert len(rows) == 12
    assert sum("+1" in row for row in rows) == sum("-1" in row for row in rows) == 6

    # All tests share molecules of few sizes, so that few programs are compiled.
    monkeypatch.setattr(shown_frames, "molecule_frames", lambda *unused, **options: None)
    monkeypatch.setattr(shown_frames, "interactive_frames", lambda *unused, **options: None)
    assert main(["frames", "methane", "--out", str(tmp_path), "--frame", "pca"]) == 0
    assert "this is no frame" in capsys.readouterr().out
    assert main(["frames", "H2O", "--out", str(tmp_path), "--group", "SE"]) == 0
    text = capsys.readouterr().out
    assert "this is no frame" not in text
    assert " -1 " not in "".join(line[:40] for line in text.splitlines() if line[:1].isdigit())


@pytest.mark.parametrize(("kind", "same"), [("robust", True), ("pca", False)])
def test_canonical_forms_are_those_of_the_moved_molecule(kind, same):
    """Of methane, which has no principal axes: there PCA is no frame."""
    atoms = ase.build.molecule("CH4")
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    moved = atoms[[3, 1, 0, 4, 2]]
    moved.positions = moved.positions @ turn.T + 2.0
    one, other = measured(kind, atoms), measured(kind, moved)

    arms = atoms.positions - one.shift[0]
    both = np.concatenate([one.linear, turn.T @ other.linear])
    forms = measured_frames.canonical_forms(both, arms, atoms.numbers)

    assert (set(forms[: len(one.linear)]) == set(forms[len(one.linear) :])) is same
    assert (one.warning == "") is same
    assert np.all(np.diff(one.weights) <= 0)


def test_axes_are_called_by_the_atoms_they_point_to():
    dioxide = measured("robust", ase.build.molecule("CO2"))
    assert {label.rsplit(", ", 1)[0] for label in dioxide.labels} == {"O2, any", "O3, any"}
    methane = measured("robust", ase.build.molecule("CH4"))
    pairs = itertools.permutations(("H2", "H3", "H4", "H5"), 2)
    ends = itertools.product(pairs, "+−")
    assert sorted(methane.labels) == sorted(f"{one}, {two}, {sign}" for (one, two), sign in ends)
    assert measured("pca", ase.build.molecule("H2O")).labels[1] == "(+ + −)"
    # As of one atom, with the size of water.
    together = ase.Atoms("He3", np.zeros((3, 3)))
    assert measured("robust", together, "SE").labels[0] == "any, any, +"


def test_a_sign_that_is_arbitrary_is_told():
    """Of water, whose atoms lie in a plane: nothing tells one side of it from the other."""
    assert "third moment" in measured("canonical", ase.build.molecule("H2O")).warning
    assert measured("pca", ase.build.molecule("H2O")).warning == ""


def test_a_capacity_that_is_too_small_is_told(monkeypatch):
    measure = measured_frames.sf.frame_diagnostics
    monkeypatch.setattr(
        measured_frames.sf,
        "frame_diagnostics",
        lambda *given: measure(*given)._replace(dropped=0.75),
    )
    frame = measured("robust", ase.build.molecule("CO2"))
    assert "capacity" in frame.warning
    assert "weight dropped 0.75" in frame.notes[-1]


def test_surfaces_are_closed_and_face_outward():
    atoms = ase.build.molecule("CH4")
    carbon, hydrogen = sorted(
        ball_and_stick(atoms.positions, atoms.numbers, 40), key=lambda solid: sum(solid.colour)
    )
    assert len(hydrogen.vertices) == 4 * (40 * 22 + 40 * 3), "four atoms, each with a bond"
    pointer = arrow(np.ones(3), np.array([0.0, 0.0, 2.0]), 0.1, (1.0, 0.0, 0.0))
    ball = ball_and_stick(np.zeros((1, 3)), np.array([6]), 40)[0]
    radius = 0.14 + 0.32 * 0.76
    # Forty flat sides lose about (2 pi / 40)^2 / 6 twice.
    np.testing.assert_allclose(volume(ball), 4 / 3 * np.pi * radius**3, rtol=0.02)

    mirror, shift = np.diag([1.0, 1, -1]), np.full(3, 0.3)
    for solid in (ball, pointer):
        (moved,) = move([solid], mirror, shift)
        np.testing.assert_allclose(volume(moved), volume(solid))
        inside_out = Solid((solid.vertices - shift) @ mirror, solid.faces, solid.colour)
        np.testing.assert_allclose(volume(inside_out), -volume(solid))


def test_weights_are_fractions_where_they_are():
    assert [fraction(weight) for weight in (1.0, 0.125, 1 / 24, 0.19987)] == [
        "1",
        "1/8",
        "1/24",
        "0.2",
    ]


def test_molecules_are_read_from_files(tmp_path):
    water = ase.build.molecule("H2O")
    path = tmp_path / "my water.xyz"
    ase.io.write(path, [water, ase.build.molecule("CH4")])
    name, atoms = read_molecule(str(path))
    assert (name, atoms.get_chemical_formula()) == ("my water", "H2O")
    np.testing.assert_allclose(atoms.positions, water.positions, atol=1e-7)
    assert read_molecule("Water")[1].get_chemical_formula() == "H2O"
    assert read_molecule("c60")[0] == "C60"


def test_mistakes_are_explained(tmp_path, capsys):
    ase.io.write(tmp_path / "many.xyz", ase.Atoms("H201", np.outer(np.arange(201), np.ones(3))))
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "notes.md").write_text("no molecule")
    (tmp_path / "bad.xyz").write_text("2\n\nH 0 0 0\nH 0 0 nan\n")
    for target, message in (
        ("pyridin", "pyridin: .*file.*, got .*: pyridine"),
        ("lost.xyz", "lost.xyz: .*file"),
        (tmp_path, f"{tmp_path}: .*file"),
        (tmp_path / "many.xyz", "many.xyz: .*1 to 200 atoms, got 201"),
        (tmp_path / "empty.xyz", "empty.xyz: .*got none"),
        (tmp_path / "notes.md", "notes.md: .*got "),
        (tmp_path / "bad.xyz", r"bad.xyz: snapshot 1, line 4: column 4 \(pos\) .*'nan'"),
    ):
        assert main(["frames", str(target), "--out", str(tmp_path / "out")]) == 2
        assert re.search(f"error: .*{message}", capsys.readouterr().err), message
    assert not Path(tmp_path / "out").exists()
    (tmp_path / "out").write_text("a file")
    assert main(["frames", "H", "--frame", "pca", "--out", str(tmp_path / "out")]) == 2
    assert re.search(f"error: --out: .*{tmp_path / 'out'}", capsys.readouterr().err)
    with pytest.raises(SystemExit):
        main(["frames", "H", "--frame", "none"])


def test_defects_of_the_arrays_are_named(tmp_path):
    path, cloud, numbers = tmp_path / "a.png", np.zeros((1, 3)), np.ones(1, int)
    good = DrawnFrame("f", "", (), "", np.eye(3)[None], np.zeros((1, 3)), np.ones(1), ("a",), (1,))
    for positions, drawn, message in (
        (cloud * np.nan, [good], "positions .*finite"),
        (cloud, [], "frames .*got"),
        (cloud, [good._replace(linear=np.eye(3))], "linear .*shape"),
        (cloud, [good._replace(shift=np.zeros((2, 3)))], "shift .*shape"),
    ):
        with pytest.raises(ValueError, match=message):
            molecule_frames(path, "t", positions, numbers, ["H1"], drawn)
    assert not path.exists()
    molecule_frames(path, "t", cloud, numbers, ["H1"], [good])
    assert path.stat().st_size > 5000
    assert jax.config.jax_enable_x64
