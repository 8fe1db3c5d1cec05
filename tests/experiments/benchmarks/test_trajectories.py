"""Dynamics at constant energy: what is conserved, what is not, and what is said about it."""

import json
import re
from functools import partial

import ase.build
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.benchmarks.trajectories.conservation import follow, numbers
from experiments.benchmarks.trajectories.heating import Start, thermalize
from experiments.benchmarks.trajectories.motion import Motion
from experiments.benchmarks.trajectories.report import table_of, write_trajectories
from experiments.errors import ExperimentError
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from tests.helpers.browser import CHROMIUM, browse
from tests.helpers.pictures import assert_drawn
from tests.helpers.tiny_potential import TinyPotential, network

# ASE sets the shapes of arrays, which NumPy has deprecated.

# At a step of 0.5 a weight changes within three steps, and higher orders show.
_TIME, _STEP = 0.1, 0.125


def _energies():
    robust = partial(sf.robust_frame, max_elements=12)
    average = partial(sf.frame_average, network, in_actions=(sf.points, None), out_actions=None)
    detached = partial(robust, detach=True)
    return {
        "robust": average(lambda x, species: robust(x), frame_argnums=(0, 1)),
        "detached": average(lambda x, species: detached(x), frame_argnums=(0, 1)),
        "bare": network,
    }


@pytest.fixture(scope="module")
def runs():
    """Water in three potentials, from the same start, and the numbers that describe its motion."""
    atoms = ase.build.molecule("H2O")
    # Heated by its bonds alone, which compile fast; of this seed, far from where it was at rest.
    atoms.calc = SymmetrizedCalculator.of(TinyPotential(), 1.0, dtype="float64")
    start = thermalize(atoms, 300.0, seed=3, time_step=2 * _STEP)
    results = {}
    for name, energy in _energies().items():
        potential = TinyPotential(energy)
        motion = Motion(potential.energy(1.0), potential.species_of(atoms.numbers), atoms)
        whole = follow(motion, start, _TIME, _STEP, every=5)
        half = follow(motion, start, _TIME, _STEP / 2, every=10)
        results[name] = whole, numbers(whole, half)
    return results


def test_energy_is_conserved_to_second_order_unless_the_frame_is_taken_for_constant(runs):
    robust, detached = runs["robust"][1], runs["detached"][1]
    assert robust["rms_falls_by"] == pytest.approx(4, rel=0.1)
    assert robust["jump_falls_by"] == pytest.approx(4, rel=0.1)
    # Of a detached frame two errors add up, one that falls by 4 and one that stays.
    assert detached["rms_falls_by"] < 2
    assert detached["rms_mev_per_atom"] > 2 * robust["rms_mev_per_atom"]


def test_angular_momentum_is_conserved_by_an_average_alone(runs):
    # From rest: float64 in some hundred steps, in units of hbar, of atoms that have about 10 each.
    assert runs["robust"][1]["spin_hbar"] < 1e-10
    assert runs["bare"][1]["spin_hbar"] > 1
    assert runs["detached"][1]["spin_hbar"] > 0.1
    assert runs["bare"][1]["rms_falls_by"] == pytest.approx(4, rel=0.1), "it is conservative"


def test_the_start_has_neither_drift_nor_spin_and_the_heat_it_was_given(runs):
    trajectory, result = runs["robust"]
    assert trajectory.energies[0] == 0
    assert trajectory.records.spin[0] < 1e-12
    assert 30 < np.mean(trajectory.records.temperature) < 1500
    assert result["picoseconds"] == pytest.approx(_TIME)
    assert result["apart_at_picoseconds"] is None
    assert result["dropped_weight"] == 0


def test_a_molecule_that_comes_apart_ends_its_trajectory_and_says_when(tmp_path):
    atoms = ase.build.molecule("H2O")

    def repulsive(positions, species):
        del species
        return -20.0 * jnp.sum((positions - jnp.mean(positions, axis=0, keepdims=True)) ** 2)

    motion = Motion(repulsive, np.array([4, 1, 1]), atoms, dropped=lambda *args: jnp.asarray(0.25))
    start = Start(atoms.positions, np.zeros((3, 3)))
    run = follow(motion, start, 1.0, _STEP)
    assert 0 < run.apart < 1
    assert np.all(np.isfinite(run.energies))
    assert run.times[-1] < run.apart
    result = numbers(run, run) | {"model": "broken", "temperature_kelvin": 300.0}
    result["nanoseconds_a_day"] = 1.0
    names, (row,) = table_of([result])
    assert "apart at" in row[names.index("ps")]
    assert "nan" not in " ".join(row)
    assert row[names.index("dropped weight")] == "0.25"


def test_a_molecule_that_comes_apart_as_it_is_heated_is_refused():
    atoms = ase.build.molecule("H2O")

    def free(positions, species):
        return 0 * jnp.sum(positions)

    def explosive(positions, species):
        return -1e6 * jnp.sum(positions**4)

    for energy in (free, explosive):
        atoms.calc = SymmetrizedCalculator(energy, dtype="float64")
        with pytest.raises(ExperimentError, match="OH2.*300 K"):
            thermalize(atoms, 300.0, seed=0, time_step=2.0)


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectories")
    results = [
        {"model": name, "temperature_kelvin": 300.0, "nanoseconds_a_day": 1.0} | result
        for name, (_, result) in runs.items()
    ]
    trajectories = {300.0: {name: run for name, (run, _) in runs.items()}}
    paths = write_trajectories(folder, "Caption.", {"molecule": "H2O"}, results, trajectories)
    assert set(paths) == set(folder.iterdir())
    return folder


def test_results_are_written(runs, written):
    assert_drawn(written / "trajectories.png")
    text = (written / "trajectories.md").read_text("utf-8")
    assert all(f"| {name} |" in text for name in runs)
    stored = json.loads((written / "trajectories.json").read_text("utf-8"))
    assert [result["model"] for result in stored["trajectories"]] == list(runs)
    page = (written / "trajectories.html").read_text("utf-8")
    assert re.search(r"<script[^>]*\ssrc\s*=", page[:5000]) is None


PROBE = """
<script>
window.addEventListener('load', async () => {
  const page = document.getElementById('curves');
  const seen = {traces: page.data.length, listed: page.querySelectorAll('.legend .traces').length};
  seen.drawn = page.querySelectorAll('.scatterlayer .trace').length;
  seen.loaded = performance.getEntriesByType('resource').map(entry => entry.name)
    .filter(name => !/^(data|blob):|favicon/.test(name));
  await fetch('/record', {method: 'POST', body: JSON.stringify(seen)});
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_works_in_a_browser(written, tmp_path):
    page = (written / "trajectories.html").read_text("utf-8")
    seen = browse(page.replace("</body>", f"{PROBE}</body>"), tmp_path)
    # Three potentials in three panels, each named once.
    assert seen == {"traces": 9, "listed": 3, "drawn": 9, "loaded": []}
