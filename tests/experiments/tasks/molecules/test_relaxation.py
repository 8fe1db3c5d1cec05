import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS

from experiments.errors import UsageError
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.relaxation import relax
from tests.helpers.tiny_potential import TinyPotential, averaged, network, pairs

# ASE sets shapes of arrays in a way that NumPy advises against.

NAMES = ("H2O", "HCN", "NH3", "CH4")


def batch(names=NAMES, dtype=np.float64, far=7.0):
    """Distorted molecules, padded to five atoms and one more, which lie anywhere."""
    rng, potential = np.random.default_rng(0), TinyPotential()
    positions = far * rng.normal(size=(len(names), 6, 3))
    species = np.zeros((len(names), 6), np.int32)
    for row, name in enumerate(names):
        atoms = molecule(name)
        count = len(atoms)
        positions[row, :count] = atoms.positions + 0.1 * rng.normal(size=(count, 3))
        species[row, :count] = potential.species_of(atoms.numbers)
    return jnp.asarray(positions, dtype), jnp.asarray(species)


def spread(positions, real):
    """The mean square distance of the real atoms of each molecule from the origin."""
    return np.mean(np.sum(np.asarray(positions) ** 2, axis=-1), axis=1, where=real)


def distances(positions, species):
    real = np.asarray(species) > 0
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return np.sort(apart[real][:, real], axis=None)


def fragile(positions, species):
    """Not a number where the first atom is far on the left, and no bottom where it is on the right."""
    left = positions[0, 0]
    cliff = jnp.where(left > 50, -((left - 50) ** 4), 0.0)
    slope = jnp.where(left < -50, jnp.sqrt(left + 60), 0.0)
    return pairs(positions, species) + cliff + slope


@jax.jit
def _down(positions, species, pull, options):
    def energy(positions, species):
        return fragile(positions, species) + pull * jnp.sum(positions**2)

    return relax(energy, positions, species, **options)


def down(positions, species, pull=0.0, tolerance=0.01, max_steps=500, max_step=0.2):
    """Relaxes bonds, which all atoms may be pulled to the origin beside: one program for all tests."""
    options = {"force_tolerance": tolerance, "max_steps": max_steps, "max_step": max_step}
    return _down(positions, species, pull, options)


def test_minima_are_those_that_ase_finds_and_turn_unless_the_network_is_alone():
    names, potential = ("H2O", "HCN"), TinyPotential(averaged)
    positions, species = (array[:, :3] for array in batch(names))
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (3, 3)))[0]
    both = jnp.concatenate([positions, positions @ turn.T])

    def relaxed_by(term):
        energy = TinyPotential(term).energy(1.0)
        down = jax.jit(functools.partial(relax, energy, force_tolerance=1e-4))
        return down(both, jnp.concatenate([species, species]))

    relaxed, other = relaxed_by(averaged), relaxed_by(network)
    assert relaxed.converged.all() and (relaxed.max_force <= 1e-4).all()
    assert (relaxed.steps > 5).all()
    calculator = SymmetrizedCalculator.of(potential, 1.0, dtype="float64")
    for row, name in enumerate(names):
        atoms = Atoms(molecule(name).numbers, positions[row], calculator=calculator)
        BFGS(atoms, logfile=None).run(fmax=1e-4, steps=300)
        energy = atoms.get_potential_energy() - potential.reference(atoms.numbers)
        # Forces of 1e-4 on curvatures of 0.1 eV/angstrom^2 at least: places to 1e-3, energies to 1e-7.
        for result in (row, row + 2):
            assert relaxed.energies[result] == pytest.approx(energy, abs=1e-6)
            np.testing.assert_allclose(
                distances(relaxed.positions[result], species[row]),
                distances(atoms.positions, species[row]),
                atol=2e-3,
            )
    assert np.abs(other.energies[:2] - other.energies[2:]).min() > 1e-3


def test_each_molecule_of_a_padded_batch_relaxes_as_by_itself():
    positions, species = batch()
    found = down(positions, species)
    assert found.converged.all()
    options = {"species_of": TinyPotential().species_of, "dtype": "float64"}
    calculator = SymmetrizedCalculator(pairs, **options)
    for row, name in enumerate(NAMES):
        count = len(molecule(name))
        atoms = Atoms(molecule(name).numbers, positions[row, :count], calculator=calculator)
        start = atoms.get_potential_energy()
        atoms.positions = found.positions[row, :count]
        assert found.energies[row] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        assert found.energies[row] < start
        forces = np.linalg.norm(atoms.get_forces(), axis=1)
        assert found.max_force[row] == pytest.approx(forces.max(), rel=1e-9)
        assert forces.max() <= 0.01


def test_padding_stays_where_it_is_even_if_the_energy_pulls_at_it():
    positions, species = batch(far=1.0)
    found = down(positions, species, pull=0.1)
    assert found.converged.all()
    padding = np.asarray(species) == 0
    np.testing.assert_array_equal(
        np.asarray(found.positions)[padding], np.asarray(positions)[padding]
    )
    assert np.all(np.asarray(found.positions)[~padding] != np.asarray(positions)[~padding])
    # The control: the atoms that are there are pulled together.
    alone = down(positions, species)
    assert np.all(spread(found.positions, ~padding) < spread(alone.positions, ~padding))


def test_who_has_arrived_is_not_moved_while_others_go_on():
    positions, species = batch()
    rested = down(positions, species).positions
    mixed = rested.at[3].set(positions[3])
    found = down(mixed, species)
    assert found.steps.tolist()[:3] == [0, 0, 0] and found.steps[3] > 3
    np.testing.assert_array_equal(found.positions[:3], rested[:3])
    np.testing.assert_array_equal(found.positions[3], rested[3])


def test_who_explodes_or_has_no_energy_is_reported_and_harms_nobody():
    positions, species = batch()
    good = down(positions, species)
    shifts = np.zeros((4, 1, 3))
    shifts[0, 0, 0], shifts[1, 0, 0], shifts[2, 0, 0] = -70, 70, np.nan
    found = down(positions + jnp.asarray(shifts), species)
    assert good.converged.all()
    assert found.converged.tolist() == [False, False, False, True]
    # No energy at the start: no step. No bottom: as many steps as there are.
    assert found.steps.tolist()[:3] == [0, 500, 0]
    assert found.positions[1, 0, 0] > 120
    for one, other in zip(found, good, strict=True):
        np.testing.assert_array_equal(one[3], other[3])
    np.testing.assert_array_equal(found.positions[0], positions[0] + jnp.asarray(shifts[0]))
    # A step to where there is no energy is not taken.
    shifts = jnp.zeros((4, 1, 3)).at[0, 0, 0].set(-59.9 - positions[0, 0, 0])
    edge = down(positions + shifts, species)
    assert not edge.converged[0] and edge.steps[0] < 500
    assert np.isfinite(edge.energies[0]) and np.isfinite(edge.positions[0]).all()


def test_no_atom_moves_farther_in_a_step_than_is_allowed():
    positions, species = batch()
    positions = positions.at[0, 1].set(positions[0, 0] + 0.1)
    for steps in (0, 1, 3):
        found = down(positions, species, max_steps=steps, max_step=0.05)
        moves = np.linalg.norm(found.positions - positions, axis=-1)
        assert moves.max() <= steps * 0.05 * (1 + 1e-12)
        assert found.steps.max() == steps and not found.converged.any()
    slope = jax.jit(jax.vmap(jax.grad(pairs)))(positions, species)
    # Along the force the first step, a seventieth of it, would be longer.
    assert np.linalg.norm(slope, axis=-1).max() / 70 > 0.05


def test_a_maximum_is_left_downhill():
    def well(positions, species):
        return (jnp.sum(positions**2) - 1) ** 2

    start = jnp.array([[[0.05, 0.02, 0]], [[0.9, 0.9, 0.9]]])
    down = jax.jit(functools.partial(relax, well, force_tolerance=1e-6))
    found = down(start, jnp.ones((2, 1), int))
    assert found.converged.all()
    np.testing.assert_allclose(np.linalg.norm(found.positions, axis=-1), 1, atol=1e-6)


def test_single_precision_is_kept_and_one_shape_is_traced_once():
    @jax.jit
    @chex.assert_max_traces(1)
    def down(positions, species, tolerance):
        return relax(pairs, positions, species, force_tolerance=tolerance)

    positions, species = batch(dtype=np.float32)
    first = down(positions, species, 0.01)
    second = down(positions[::-1], species[::-1], 0.1)
    chex.assert_type([first.positions, first.energies, first.max_force], jnp.float32)
    assert first.converged.all() and second.converged.all()
    assert second.max_force.max() > 0.01 >= first.max_force.max()
    assert jax.eval_shape(functools.partial(relax, pairs), *batch()).energies.dtype == jnp.float64


def test_what_does_not_fit_together_is_refused():
    positions, species = jnp.zeros((2, 3, 3)), jnp.ones((2, 3), int)
    for arguments, options, message in [
        ((positions[0], species), {}, r"positions .*got .*\(3, 3\)"),
        ((positions[..., :2], species), {}, r"positions .*got .*\(2, 3, 2\)"),
        ((jnp.zeros((2, 3, 3), int), species), {}, "positions .*got int64"),
        ((positions, species[0]), {}, r"species .*\(2, 3\).*got .*\(3,\)"),
        ((positions, species.astype(float)), {}, "species .*got float64"),
        ((positions, species), {"force_tolerance": 0}, "force_tolerance .*got 0"),
        ((positions, species), {"max_step": -1.0}, "max_step .*got -1.0"),
        ((positions, species), {"force_tolerance": np.nan}, "force_tolerance .*got nan"),
        ((positions, species), {"max_steps": -1}, "max_steps .*got -1"),
    ]:
        with pytest.raises(UsageError, match=message):
            relax(pairs, *arguments, **options)
