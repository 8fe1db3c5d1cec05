"""Dynamics of crystals with the integrators of ASE: what they conserve, and how well."""

import copy

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT
from ase.md.verlet import VelocityVerlet

from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.neighbour_list import NeighbourList
from tests.helpers.local_crystal import crystal, network
from tests.helpers.pair_crystal import REACH, PairCrystal


def moving(atoms, calculator, speed):
    """A copy with velocities in Angstrom per unit of time of ASE, and light atoms."""
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.set_masses(np.full(len(atoms), 10.0))
    draw = np.random.default_rng(1)
    atoms.set_velocities(speed * draw.normal(size=(len(atoms), 3)))
    return atoms


def errors(run, conserved):
    """How far what is conserved strays in a time, with a time step and with half of it."""
    found = []
    for halves in (1, 2):
        dynamics = run(halves)
        before, away = conserved(dynamics), []
        for _ in dynamics.irun(20 * halves):
            away.append(abs(conserved(dynamics) - before))
        found.append(max(away))
    return found


@pytest.fixture(scope="module")
def whole():
    calculator = network("local")
    # The number of slots that it needs, which a list never has less of: one program for both.
    calculator.get_potential_energy(crystal().repeat((1, 1, 2)))
    return calculator


CLUSTER = [[0, 0, 0], [1.9, 0.1, 0.2], [0.3, 1.8, 0.4], [0.5, 0.7, 2.0]]


@pytest.mark.parametrize(
    ("atoms", "step", "speed", "blind"),
    [
        (crystal().repeat((1, 1, 2)), 0.5, 0.05, 0.8),
        (Atoms("SiCu2Si", CLUSTER, cell=20 * np.eye(3), pbc=True), 1.0, 0.1, 0.7),
    ],
    ids=["crystal", "cluster"],
)
def test_errors_of_the_energy_fall_by_four_with_half_the_step_but_not_if_neighbours_appear_at_once(
    whole, atoms, step, speed, blind
):
    """As they do if forces are slopes of an energy that has two derivatives."""

    def run(calculator, halves):
        return VelocityVerlet(moving(atoms, calculator, speed), step * units.fs / halves)

    def energy(dynamics):
        return dynamics.atoms.get_total_energy()

    coarse, fine = errors(lambda halves: run(whole, halves), energy)
    assert 3.3 < coarse / fine < 5 and coarse < 0.01
    # The same network that is shown neighbours within less than what it damps its messages for.
    hard = copy.copy(whole)
    hard._list = NeighbourList(blind * REACH, skin=0.0)
    hard._list._slots = whole._list._slots
    coarse, fine = errors(lambda halves: run(hard, halves), energy)
    assert coarse / fine < 1.5 and coarse > 0.01


class Stretched(SymmetrizedCalculator):
    """Stresses that are no slopes of the energy."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["stress"] = 1.3 * self.results["stress"]


@pytest.mark.parametrize("dynamics", [IsotropicMTKNPT, MTKNPT])
def test_dynamics_at_a_pressure_conserve_what_they_should_if_stresses_are_slopes(dynamics):
    """The energy with that of the thermostat, the barostat and the piston of Martyna et al."""

    def run(calculator, halves):
        atoms = moving(bulk("Cu", a=2.9, cubic=True), calculator, 0.05)
        bath = {"temperature_K": 300, "tdamp": 50 * units.fs, "pdamp": 100 * units.fs}
        return dynamics(atoms, units.fs / halves, pressure_au=0.05, **bath)

    def strays(kind):
        calculator = kind.of(PairCrystal(), 1.0, dtype="float64")
        return errors(
            lambda halves: run(calculator, halves), lambda one: one.get_conserved_energy()
        )

    coarse, fine = strays(SymmetrizedCalculator)
    assert 3.3 < coarse / fine < 5 and coarse < 0.02
    coarse, fine = strays(Stretched)
    assert coarse / fine < 1.5 and coarse > 0.02
