"""Energy in molecular dynamics: conserved to the second order with robust frames, and only there."""

import functools
import importlib
import json
import sys

import jax
import numpy as np
import pytest

import symjax_frames as sf
from experiments.benchmarks import drift
from experiments.benchmarks.drift.dynamics import simulate
from experiments.benchmarks.drift.molecules import molecules, potential
from experiments.benchmarks.figures.drift import energy_drift
from experiments.errors import UsageError
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from tests.helpers.pictures import assert_drawn

# ASE sets the shapes of arrays, which NumPy has deprecated.

_TIME = 6.0
_HALVED = pytest.approx(4, rel=0.05)
"""How an error of second order falls; the next order is a few per cent of it at these steps."""


@pytest.fixture(scope="module")
def ammonia():
    return molecules()[0]


@pytest.fixture(scope="module")
def measured(ammonia):
    frames = {name: drift.FRAMES[name] for name in ("PCA", "robust")}
    return drift.measure(ammonia, _TIME, 0.1, frames=frames)


def test_halving_the_step_divides_the_error_by_four_unless_the_energy_jumps(ammonia, measured):
    numbers = drift.summary([ammonia], {ammonia.name: measured})[ammonia.name]
    assert numbers["robust"]["crossings"] == numbers["PCA"]["crossings"] == 1
    assert numbers["robust"]["flat"] >= 1
    assert numbers["robust"]["ratios_of_rms"] == [_HALVED, _HALVED]
    assert max(numbers["PCA"]["ratios_of_rms"]) < 2
    assert numbers["PCA"]["largest_mev_per_atom"][-1] > 0.5
    assert numbers["robust"]["largest_mev_per_atom"][-1] < 0.01


def test_the_jump_is_where_the_axes_cross(ammonia, measured):
    finest = measured["PCA"][-1]
    changes = np.abs(np.diff(finest.energies))
    (crossing,) = drift.crossings(finest, ammonia)
    step = finest.times[1]
    # The gap is lowest one step before or after the crossing itself.
    assert abs(finest.times[changes.argmax()] - crossing) < 2.5 * step
    assert changes.max() > 100 * np.abs(np.diff(measured["robust"][-1].energies)).max()


def test_a_line_is_passed_at_second_order_unless_the_frame_is_taken_for_constant():
    water = molecules()[2]
    water = water._replace(positions=water.positions * np.array([[1, -0.2, 1]]))
    frames = {name: drift.FRAMES[name] for name in ("robust", "robust, detached")}
    runs = drift.measure(water, 10.0, 0.1, frames=frames)
    numbers = drift.summary([water], {water.name: runs})[water.name]
    assert numbers["robust"]["flat"] == 1
    assert numbers["robust"]["ratios_of_rms"] == [_HALVED, _HALVED]
    assert numbers["robust, detached"]["ratios_of_rms"] == pytest.approx([1, 1], rel=0.05)


def test_the_motion_is_velocity_verlet_with_the_slope_of_the_energy(ammonia):
    # The frame of translations alone compiles fast, and leaves the centre of mass at rest.
    energy = potential(ammonia, functools.partial(sf.pca_frame, group="T"))
    calculator = SymmetrizedCalculator(lambda positions, _: energy(positions), dtype="float64")
    run = simulate(ammonia, calculator, 0.1, 4)
    slope = jax.jit(jax.grad(energy))
    masses = np.array([[14.007], [1.008], [1.008], [1.008]])
    unit = 10.180505710  # femtoseconds, for eV, angstrom and atomic mass units
    for before, now, after in zip(
        run.positions, run.positions[1:], run.positions[2:], strict=False
    ):
        acceleration = -np.asarray(slope(now)) / masses
        expected = 2 * now - before + (0.1 / unit) ** 2 * acceleration
        # As many digits as the constants above have, of a move of 1e-3.
        np.testing.assert_allclose(after, expected, atol=1e-10)
    centres = np.sum(masses * run.positions, axis=1)
    np.testing.assert_allclose(centres, np.broadcast_to(centres[0], centres.shape), atol=1e-13)


def test_the_table_is_printed_and_the_files_are_written(
    tmp_path, capsys, monkeypatch, ammonia, measured
):
    monkeypatch.setattr(drift, "molecules", lambda: (ammonia,))
    monkeypatch.setattr(drift, "measure", lambda *unused: measured)
    out = tmp_path / "new"
    drift.main([f"--out={out}", f"--time={_TIME}"])
    printed = capsys.readouterr().out
    assert ammonia.name in printed and "robust" in printed and "nan" not in printed
    assert "| robust |" in (out / "drift.md").read_text()
    document = json.loads((out / "drift.json").read_text())
    assert document["steps_fs"] == [0.1, 0.05, 0.025]
    numbers = document["molecules"][ammonia.name]["PCA"]
    assert numbers["rms_mev_per_atom"] == [run.rms for run in measured["PCA"]]
    assert_drawn(out / "drift.png")


@pytest.mark.parametrize("option", ["--time=0", "--step=-1", "--heat=nan", "--time=inf"])
def test_options_must_be_positive(option, capsys):
    with pytest.raises(SystemExit):
        drift.main([option])
    assert f"{option.split('=')[0]}: must be" in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch):
    name = "experiments.benchmarks.drift.dynamics"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(UsageError, match=r"ase.*pip install -e '.\[experiments\]'"):
        importlib.import_module(name)


def test_defects_of_the_curves_are_named(tmp_path):
    path, steps = tmp_path / "a.png", [0.2, 0.1]
    curve, none = (np.arange(3.0), np.zeros(3)), np.zeros(0)
    bad = (np.arange(3.0), np.full(3, np.nan))
    for energies, deviations, message in [
        ({}, [1, 1], "^energies must .* got 0"),
        ({"m": {}}, [1, 1], r"^energies must .*\[0\]"),
        ({"m": {"f": bad}}, [1, 1], "^energies of f must be finite"),
        ({"m": {"f": curve}}, [1], r"^deviations of f must .*\(1,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            energy_drift(path, energies, {"m": {"f": none}}, steps, {"m": {"f": deviations}})
    assert not path.exists()
