"""The exactness benchmark: robust frames pass, others do not, and every law finds what breaks it."""

import functools
import json
import re
import sys

import jax
import numpy as np
import pytest

import symjax_frames as sf
from experiments.benchmarks import draws, exactness
from experiments.benchmarks.exactness import laws, methods
from experiments.benchmarks.exactness import paths as along
from experiments.benchmarks.exactness.clouds import load_clouds, pad
from experiments.benchmarks.figures.exactness import exactness_map
from experiments.commands.main import main
from tests.helpers.pictures import assert_drawn

_SYMMETRIES = {"values", "vectors", "forces", "rank 2", "mirror images"}


@pytest.fixture(scope="module")
def clouds():
    return load_clouds(few=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a quick run in float32, of three frames, and what was printed."""
    out = tmp_path_factory.mktemp("exactness") / "new"
    # One frame for all outputs of the robust average: one compilation less.
    octahedral = functools.partial(sf.robust_frame, closure="octahedral")
    few = {name: methods.METHODS[name] for name in ("no average", "PCA")}
    few["robust"] = methods.Method(methods.averaged(octahedral))

    names = iter(few)

    def jumps(*arguments):
        """Optimises energies: how far those of PCA frames jump depends on how sums are rounded."""
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", before and next(names) != "PCA")
        found = along.jumps(*arguments)
        jax.config.update("jax_disable_most_optimizations", before)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exactness, "METHODS", few)
        patch.setattr(exactness, "jumps", jumps)
        # Coarser paths: a jump is a jump, however long the segment that it is in.
        patch.setattr(along, "_SEGMENTS", 8)
        assert main(["benchmark", "exactness", "--quick", "--dtype=float32", f"--out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def stored(written):
    return json.loads((written / "exactness.json").read_text())


def test_robust_frames_are_clean_in_every_cell(stored):
    robust = stored["frames"]["float32"]["robust"]
    assert set(robust["failed"]) == set(laws.LAWS)
    assert not any(robust["failed"].values())
    # Far from the tolerances: sums of a few hundred roundings, and no cloud here is far away but one.
    errors = {law: dict(of_clouds) for law, of_clouds in robust["errors"].items()}
    for law in ("values", "vectors", "forces", "rank 2"):
        assert errors[law].pop("offset 1e3") < 2e-3
        assert max(errors[law].values()) < 1e-4
    assert max(error for name, error in errors["torque"].items() if name != "offset 1e3") < 1e-5
    assert max(robust["jumps"].values()) < along.LARGEST_CHANGE


def test_other_frames_are_not(stored):
    failed = {name: result["failed"] for name, result in stored["frames"]["float32"].items()}
    # Symmetric tops, and the cube, under PCA frames; a generic molecule is fine.
    for law in ("forces", "mirror images"):
        assert {"CH4", "C6H6", "cube"} <= set(failed["PCA"][law])
        assert "CH3CH2OH" not in failed["PCA"][law]
    count = len(stored["frames"]["float32"]["PCA"]["errors"]["values"])
    for law in _SYMMETRIES:
        # So far away the backbone saturates, and has no slope.
        assert len({*failed["no average"][law], "offset 1e3"}) == count
    # The backbone is a differentiable function of a set, whatever else it is not.
    for law in ("permutations", "gradient", "NaN"):
        assert not failed["no average"][law]
    jumps = {name: result["jumps"] for name, result in stored["frames"]["float32"].items()}
    for path in ("box", "cube", "benzene", "generic cloud"):
        assert jumps["PCA"][path] > 0.2
    assert max(jumps["no average"].values()) < along.LARGEST_CHANGE


def test_evaluations_are_counted(stored):
    counts = stored["evaluations"]
    assert counts["robust, E(3)"]["CH3CH2OH"] <= 8
    for name, count in counts["robust, E(3)"].items():
        assert 2 * counts["robust, SE(3)"][name] >= count
        assert counts["robust, species, E(3)"][name] <= count <= 48
    assert counts["robust, species, E(3)"] != counts["robust, E(3)"]


def test_ties_are_counted(stored):
    ties = stored["ties"]
    assert len(ties) == 8
    for name, tie in ties.items():
        if tie["order"] > 1:
            assert tie["order"] <= tie["elements"] <= 4 * tie["order"], name
    assert ties["C60, shaken by 0.05 A"]["elements"] <= 64
    # More than twelve first axes tie.
    large = {"C60", "dodecahedron", "prism of 12", "antiprism of 12"}
    assert {name for name, tie in ties.items() if not tie["fits"]} == large


def test_everything_is_written(written):
    page = (written / "exactness.md").read_text()
    assert "| G2 (6) | forces | 6 | " in page and "| hard clouds (6) | NaN | 0 | 0 | 0 |" in page
    assert "evaluations a molecule | median" in page and "| dodecahedron | 20 | 120 | " in page
    assert_drawn(written / "exactness.png")


def test_averages_in_float32_hold_nothing_wider(clouds):
    arguments = [clouds.points[0], clouds.mask[0], clouds.species[0], clouds.units[0]]
    cast = [x if x.dtype == bool else x.astype(np.float32) for x in arguments]
    for name in ("PCA", "robust"):
        function = functools.partial(methods.outputs, methods.METHODS[name].wrap(methods.backbone))
        assert "f64" not in str(jax.make_jaxpr(function)(*cast))
    bare = functools.partial(methods.outputs, methods.backbone)
    assert "f64" in str(jax.make_jaxpr(bare)(*arguments)), "it would be seen"


def _exact(clouds):
    """An energy with its forces, vectors and a tensor, all equivariant, in closed form."""
    arms = clouds.arms / clouds.units[:, None, None]
    wells = np.where(clouds.mask, np.exp(-np.sum(arms**2, axis=2) / 8), 0)
    slopes = -arms * wells[..., None] / 4
    count = clouds.mask.sum(axis=1)[:, None, None]
    forces = -slopes + np.where(clouds.mask[..., None], slopes.sum(1, keepdims=True) / count, 0)
    tensor = np.einsum("cpi,cpj->cij", arms, arms)
    return {"values": wells.sum(axis=1), "vectors": arms, "forces": forces, "rank 2": tensor}


def _with(change):
    def run(clouds):
        outputs = _exact(clouds)
        return outputs | change(outputs, clouds.points / clouds.units[:, None, None])

    return run


def _chiral(outputs, points):
    """Adds the pseudovectors of neighbouring vectors, which turn as vectors do."""
    arms = outputs["vectors"]
    return {"vectors": arms + 1e-3 * np.cross(arms, np.roll(arms, 1, axis=1))}


def _ordered(outputs, points):
    """Looks at the first point, wherever it is."""
    first = np.linalg.norm(outputs["vectors"][:, 0], axis=1)
    return {"values": outputs["values"] + 1e-3 * first}


_TILT = np.array([[1, 1e-3, 0], [0, 1, 0], [0, 0, 1]])
_DEFECTS = {
    "placed": (lambda o, x: {"values": o["values"] + np.sin(x[:, 0, 0])}, {"values"}),
    "vectors": (lambda o, x: {"vectors": o["vectors"] @ _TILT}, {"vectors", "mirror images"}),
    "tensor": (lambda o, x: {"rank 2": o["rank 2"] @ _TILT}, {"rank 2"}),
    "chiral": (_chiral, {"mirror images", "permutations"}),
    "ordered": (_ordered, {"permutations"}),
    "gradient": (lambda o, x: {"forces": 1.1 * o["forces"]}, {"gradient"}),
    "tilted": (lambda o, x: {"forces": o["forces"] @ _TILT}, {"torque", "forces"}),
    "NaN": (lambda o, x: {"vectors": o["vectors"] * np.nan}, {"NaN", "vectors"}),
}
"""What is done to the outputs, and the laws that have to fail for it on the ethanol molecule."""


@pytest.mark.parametrize("defect", [None, *_DEFECTS])
def test_every_law_finds_what_breaks_it(clouds, defect):
    change, broken = _DEFECTS[defect] if defect else (lambda outputs, points: {}, set())
    run = _with(change)
    measured = laws.measure(run, run, clouds, "float64", 2)
    ethanol = clouds.names.index("CH3CH2OH")
    assert broken <= {law for law, errors in measured.items() if errors.failed[ethanol]}
    if defect is None:
        assert not any(errors.failed.any() for errors in measured.values())
    if defect in ("gradient", "tensor"):
        # A defect shows where it is, and nowhere else.
        assert not any(errors.failed.any() for law, errors in measured.items() if law not in broken)


def test_jumps_are_told_from_slopes():
    def slope(clouds):
        return {"values": np.tanh(5 * clouds.points[:, 0, 0])}

    def jump(clouds):
        return {"values": np.sin(clouds.points[:, 0, 0]) + 0.1 * (clouds.points[:, 0, 0] > 0.123)}

    paths = {"line": lambda t: np.full((2, 3), t)}
    assert along.jumps(slope, paths)["line"] < 1e-6
    np.testing.assert_allclose(
        along.jumps(jump, paths)["line"], 0.1 / (2 * np.sin(1) + 0.1), rtol=1e-4
    )
    nothing = along.jumps(lambda clouds: {"values": np.full(len(clouds.points), np.nan)}, paths)
    assert not nothing["line"] <= along.LARGEST_CHANGE


def test_axes_cross_on_the_paths():
    # On the way through a line two axes have no width at 0; through a plane, axes cross elsewhere.
    at_zero = {"box", "cube", "methane", "benzene", "flat cloud", "generic cloud", "through a line"}
    paths = along.make_paths()
    gaps = jax.jit(jax.vmap(sf.spectral_gap))(*pad([path(0.0) for path in paths.values()]))
    assert {name for name, gap in zip(paths, gaps, strict=True) if gap < 1e-6} == at_zero


def test_ase_missing_is_one_message(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ase.collections", None)
    assert main(["benchmark", "exactness", "--quick"]) == 2
    assert "pip install -e '.[experiments]'" in capsys.readouterr().err


def test_benchmarks_are_listed_and_run(monkeypatch, capsys):
    assert main(["benchmark"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"exactness", "draws", "averaging"} <= {line.split()[0] for line in lines}
    # Modules that benchmarks share are none.
    assert not {"options", "timing", "report", "figures"} & {line.split()[0] for line in lines}
    seen = []
    monkeypatch.setattr(draws, "main", seen.append)
    assert main(["benchmark", "draws", "--repeats=1", "--batch", "2"]) == 0
    assert seen == [["--repeats=1", "--batch", "2"]]
    assert main(["benchmark", "nothing"]) == 2
    assert re.search("benchmark.*exactness.*'nothing'", capsys.readouterr().err)


def test_defects_of_the_picture_are_named(tmp_path):
    good = dict(
        path=tmp_path / "a.png",
        failures={"float32": np.ones((1, 1))},
        totals=[1],
        laws=["values"],
        frames=["PCA"],
        times=np.arange(3.0),
        energies={"PCA": np.arange(3.0)},
    )
    for bad, message in [
        ({"failures": {}}, "^failures must"),
        ({"energies": {}}, "0 energies"),
        ({"failures": {"float32": np.ones((2, 1))}}, r"^float32 must .*\(2, 1\)"),
        ({"totals": [1, 2]}, "^totals must"),
        ({"energies": {"PCA": np.full(3, np.nan)}}, "^PCA must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            exactness_map(**good | bad)
    assert not good["path"].exists()
