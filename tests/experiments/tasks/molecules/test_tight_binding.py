import importlib.util
import os
import sys

import numpy as np
import pytest

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data import simulate as tight_binding
from experiments.tasks.molecules.data import trajectory as _trajectory
from experiments.tasks.molecules.data import xtb
from experiments.tasks.molecules.data.langevin import Bath, State, advance
from experiments.tasks.molecules.data.molecules import Molecules
from experiments.tasks.molecules.data.simulate import simulate_molecule
from experiments.tasks.molecules.data.trajectory import Trajectory
from experiments.tasks.molecules.data.xtb import Labels, PotentialError, TightBinding

needs_tblite = pytest.mark.skipif(
    importlib.util.find_spec("tblite") is None, reason="tblite is not installed"
)
build = pytest.importorskip("ase.build")

WATER = {"temperature": 300, "seed": 1, "steps_between": 3, "equilibrate": 30, "progress": False}


@pytest.fixture(autouse=True)
def short_files(monkeypatch):
    monkeypatch.setattr(tight_binding, "_CHUNK", 8)


def simulated_arrays(molecules: Molecules) -> tuple[np.ndarray, ...]:
    """All but polarizabilities, which GFN2-xTB is not asked for, and what crystals have."""
    arrays, others = molecules[:5], molecules[5:]
    assert all(other is None for other in others)
    return tuple(arrays)


def assert_same(received: Molecules, expected: Molecules, snapshots: int) -> None:
    pairs = zip(simulated_arrays(received), simulated_arrays(expected), strict=True)
    for values, others in pairs:
        np.testing.assert_array_equal(values[:snapshots], others[:snapshots])


def slope(atoms) -> np.ndarray:
    """Differences of the fourth order of the energy along every coordinate."""
    energy = TightBinding(atoms)
    # Truncation and rounding of an energy of 300 eV are both about 1e-8 eV/angstrom at this width.
    width, slopes = 4e-3, np.empty(atoms.positions.size)
    for coordinate in range(slopes.size):
        step = np.zeros(slopes.size)
        step[coordinate] = width
        step = step.reshape(atoms.positions.shape)
        one, two = (
            energy(atoms.positions + k * step).energy - energy(atoms.positions - k * step).energy
            for k in (1, 2)
        )
        slopes[coordinate] = (8 * one - two) / (12 * width)
    return slopes.reshape(atoms.positions.shape)


def ethanol():
    atoms = build.molecule("CH3CH2OH")
    atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=atoms.positions.shape)
    return atoms


@needs_tblite
def test_forces_are_minus_the_gradient_of_the_energy(monkeypatch):
    atoms = ethanol()
    expected = -slope(atoms)

    # Forces err by the first power of what the electrons are from converging, energies by the
    # second: 2e-6 eV/angstrom was measured over other shapes and far more accurate electrons.
    labels = TightBinding(atoms)(atoms.positions)
    np.testing.assert_allclose(labels.forces, expected, rtol=0, atol=5e-6)

    # With the accuracy that tblite has by default they are no gradient to that precision.
    monkeypatch.setattr(xtb, "_ACCURACY", 1.0)
    coarse = TightBinding(atoms)(atoms.positions)
    assert np.abs(coarse.forces - expected).max() > 5e-5
    assert abs(coarse.energy - labels.energy) < 1e-8


@needs_tblite
def test_dipole_is_in_elementary_charges_times_angstrom_and_points_to_the_hydrogens():
    water = build.molecule("H2O")
    hydrogens = water.positions[1:].mean(axis=0) - water.positions[0]

    dipole = TightBinding(water)(water.positions).dipole

    # 0.4 e angstrom are 1.9 debye.
    assert 0.35 < dipole @ hydrogens / np.linalg.norm(hydrogens) < 0.6


def test_dynamics_have_the_temperature_that_was_asked_for():
    # Independent springs: kinetic and potential energy are each kT/2 a coordinate.
    count, stiffness, heat = 1000, 3.0, 0.04
    masses = np.linspace(1, 16, count)

    def springs(positions):
        return Labels(np.zeros(()), -stiffness * positions, np.zeros(3))

    def energies(friction):
        rest = State(np.zeros((count, 3)), np.zeros((count, 3)), springs(np.zeros((count, 3))))
        bath = Bath(heat, friction, 0.2)
        moved = advance(rest, springs, masses, bath, 600, np.random.default_rng(0))
        kinetic = np.mean(masses[:, None] * moved.velocities**2)
        return kinetic / heat, np.mean(stiffness * moved.positions**2) / heat

    # The mean of 3000 squares of normal variables, whose standard deviation is sqrt(2/3000); the
    # kinetic one is off by the square of the time step times the frequency, too, over 4.
    kinetic, potential = energies(friction=0.5)
    assert abs(potential - 1) < 4 * np.sqrt(2 / 3000)
    assert abs(kinetic - 1) < 4 * np.sqrt(2 / 3000) + 0.2**2 * stiffness / 4
    # Without a bath nothing is warmed.
    assert max(energies(friction=0.0)) < 1e-9


@needs_tblite
def test_snapshots_carry_the_labels_of_their_positions(tmp_path, capfd):
    environment = dict(os.environ)

    molecules = simulate_molecule("H2O", snapshots=11, cache=tmp_path, **WATER)

    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment
    np.testing.assert_array_equal(molecules.species, np.tile(np.int32([8, 1, 1]), (11, 1)))
    assert molecules.species.dtype == np.int32
    water = build.molecule("H2O")
    centres = np.tensordot(water.get_masses(), molecules.positions, axes=(0, 1))
    np.testing.assert_allclose(centres, 0, atol=1e-13)
    stale = None
    for _, positions, *labels in zip(*simulated_arrays(molecules), strict=True):
        for one, two, tolerance in zip(
            labels, TightBinding(water)(positions), (1e-9, 1e-5, 1e-5), strict=True
        ):
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, two, rtol=0, atol=tolerance)
        # The labels of the snapshot before, a femtosecond and a half away, are others.
        assert stale is None or np.abs(stale - labels[1]).max() > 1e-2
        stale = labels[1]


@needs_tblite
def test_a_simulation_is_the_same_again_and_its_first_snapshots_are_those_of_a_longer_one(tmp_path):
    long = simulate_molecule("H2O", snapshots=20, cache=tmp_path / "long", **WATER)
    short = simulate_molecule("H2O", snapshots=5, cache=tmp_path / "short", **WATER)
    other = simulate_molecule("H2O", snapshots=5, cache=tmp_path / "short", **(WATER | {"seed": 2}))
    extended = simulate_molecule("H2O", snapshots=20, cache=tmp_path / "short", **WATER)

    assert_same(short, long, 5)
    assert_same(extended, long, 20)
    assert np.abs(other.positions - short.positions).max() > 0.01


def test_files_of_earlier_versions_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(tight_binding, "_CHUNK", 50)
    monkeypatch.setattr(tight_binding, "TightBinding", lambda atoms: Sometimes(atoms, ()))

    simulate_molecule("water", snapshots=3, cache=tmp_path, **WATER)

    assert [path.name for path in tmp_path.iterdir()] == ["tblite-H2O-4a664c90640814aa.npz"]


@needs_tblite
def test_what_was_simulated_outlives_a_kill_and_damage(tmp_path, monkeypatch, capfd):
    expected = simulate_molecule("H2O", snapshots=20, cache=tmp_path / "whole", **WATER)
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 15:  # In the second of three files of eight snapshots.
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(_trajectory, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_molecule("H2O", snapshots=20, cache=tmp_path / "cut", **WATER)
    assert len(list((tmp_path / "cut").iterdir())) == 1

    resumed = simulate_molecule("H2O", snapshots=20, cache=tmp_path / "cut", **WATER)
    # Two files of snapshots, neither the first nor the equilibration again.
    assert len(calls) == 15 + 16
    assert_same(resumed, expected, 20)

    middle = sorted((tmp_path / "cut").iterdir(), key=os.path.getmtime)[1]
    middle.write_bytes(middle.read_bytes()[:-200])
    capfd.readouterr()
    repaired = simulate_molecule("H2O", snapshots=20, cache=tmp_path / "cut", **WATER)
    assert "generating it again" in capfd.readouterr().err
    assert len(calls) == 15 + 16 + 8
    assert_same(repaired, expected, 20)


@needs_tblite
def test_what_is_missing_is_announced(tmp_path, capsys):
    few = WATER | {"progress": True, "temperature": 250}

    simulate_molecule("H2O", snapshots=3, cache=tmp_path, **few)
    assert "Simulating 3 snapshots of H2O at 250 K: 100 %" in capsys.readouterr().err
    simulate_molecule("H2O", snapshots=3, cache=tmp_path, **few)
    assert capsys.readouterr().err == ""


@needs_tblite
def test_electrons_that_do_not_converge_are_no_energy():
    water = build.molecule("H2O")
    energy = TightBinding(water)
    usual = energy(water.positions)

    energy._calculator.set("max-iter", 1)
    with pytest.raises(PotentialError, match="SCF"):
        energy(water.positions + np.eye(3) / 10)
    energy._calculator.set("max-iter", 250)
    with pytest.raises(PotentialError, match="close"):
        energy(np.zeros((3, 3)))
    with pytest.raises(PotentialError, match="finite position"):
        energy(np.full((3, 3), np.nan))

    # And leave nothing behind.
    for one, two in zip(energy(water.positions), usual, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)


class Sometimes:
    """Springs between atoms and their places, with no energy at some calls."""

    def __init__(self, atoms, failing):
        self.places, self.failing, self.calls = atoms.positions.copy(), failing, 0

    def __call__(self, positions):
        self.calls += 1
        if self.calls in self.failing:
            raise PotentialError("SCF not converged in 250 cycles")
        return Labels(np.zeros(()), 10 * (self.places - positions), np.zeros(3))


def test_a_failure_is_said_and_other_noise_taken(tmp_path, monkeypatch, capfd):
    few = WATER | {"steps_between": 2, "equilibrate": 2}

    def simulated(folder, failing):
        monkeypatch.setattr(tight_binding, "TightBinding", lambda atoms: Sometimes(atoms, failing))
        return simulate_molecule("H2O", snapshots=8, cache=tmp_path / folder, **few)

    usual = simulated("usual", ())
    assert capfd.readouterr().err == ""
    # One call at the start, two for the equilibration, then two for each snapshot.
    failed = simulated("failed", (7, 8))

    assert capfd.readouterr().err.splitlines() == [
        f"H2O, snapshot 2: SCF not converged in 250 cycles (try {k} of 4, each with other noise)"
        for k in (1, 2)
    ]
    assert all(np.all(np.isfinite(values)) for values in simulated_arrays(failed))
    assert_same(failed, usual, 1)
    assert np.all(np.abs(failed.positions[1:] - usual.positions[1:]).max(axis=(1, 2)) > 1e-6)


def test_a_failure_that_stays_ends_in_an_error_and_no_snapshots(tmp_path, monkeypatch):
    always = range(20, 1000)
    monkeypatch.setattr(tight_binding, "TightBinding", lambda atoms: Sometimes(atoms, always))
    with pytest.raises(DataError, match="^H2O, equilibration: .* 4 times"):
        simulate_molecule("H2O", snapshots=3, cache=tmp_path, **WATER)
    monkeypatch.setattr(tight_binding, "TightBinding", lambda atoms: Sometimes(atoms, (1,)))
    with pytest.raises(DataError, match="^H2O: .*the start"):
        simulate_molecule("H2O", snapshots=3, cache=tmp_path, **WATER)
    assert not list(tmp_path.iterdir())


def test_a_molecule_that_comes_apart_is_no_snapshot(capfd):
    water = build.molecule("H2O")

    def free(positions):
        return Labels(np.zeros(()), np.zeros((3, 3)), np.zeros(3))

    trajectory = Trajectory("H2O", water, free, Bath(heat=0.01, friction=0.0, time_step=0.1), 0)
    velocities = np.zeros((3, 3))
    velocities[2, 1] = -1.0
    state = State(water.positions, velocities, free(water.positions))

    # The bond is then 1.7 angstrom long, and 3 angstrom.
    assert np.all(np.isfinite(trajectory.reach(state, 10, 1).positions))
    assert capfd.readouterr().err == ""
    with pytest.raises(DataError, match="^H2O, snapshot 1: .* 4 times, .* 1 of 3 atoms"):
        trajectory.reach(state, 30, 1)


def test_every_molecule_of_g2_is_in_one_piece():
    collections = pytest.importorskip("ase.collections")
    for atoms in collections.g2:
        trajectory = Trajectory("", atoms, Sometimes(atoms, ()), Bath(0.0, 0.0, 0.1), 0)
        trajectory.reach(trajectory.start(), 1, 1)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("CH3CHOH2", {}, ("molecule", "'CH3CHOH2'", "CH3CH2OH,")),
        ("etanol", {}, ("molecule", "'etanol'", ": ethanol, ")),
        ("H", {}, ("molecule", "two atoms", "'H'")),
        ("H2O", {"snapshots": 0}, ("snapshots", "at least 1", "got 0")),
        ("H2O", {"temperature": 0.0}, ("temperature", "positive", "got 0.0")),
        ("H2O", {"temperature": float("nan")}, ("temperature", "positive", "got nan")),
        ("H2O", {"seed": -1}, ("seed", "at least 0", "got -1")),
        ("H2O", {"steps_between": 0}, ("steps_between", "at least 1", "got 0")),
        ("H2O", {"time_step_fs": 5.0}, ("time_step_fs", "at most 2", "got 5.0")),
        ("H2O", {"equilibrate": -1}, ("equilibrate", "at least 0", "got -1")),
    ],
)
def test_mistakes_are_named(tmp_path, name, change, words):
    with pytest.raises(UsageError, match=f"^{words[0]} must be") as caught:
        simulate_molecule(name, cache=tmp_path, **(WATER | {"snapshots": 2} | change))
    assert all(word in str(caught.value) for word in words)
    assert not list(tmp_path.iterdir())


def test_without_tblite_only_what_was_kept_is_to_be_had(tmp_path, monkeypatch):
    with monkeypatch.context() as springs:
        springs.setattr(tight_binding, "TightBinding", lambda atoms: Sometimes(atoms, ()))
        kept = simulate_molecule("H2O", snapshots=8, cache=tmp_path, **WATER)
    monkeypatch.setitem(sys.modules, "tblite", None)
    monkeypatch.setitem(sys.modules, "tblite.interface", None)

    assert_same(simulate_molecule("H2O", snapshots=8, cache=tmp_path, **WATER), kept, 8)
    with pytest.raises(UsageError, match=r"tblite.*pip install -e '.\[molecules\]'"):
        simulate_molecule("H2O", snapshots=9, cache=tmp_path, **WATER)
