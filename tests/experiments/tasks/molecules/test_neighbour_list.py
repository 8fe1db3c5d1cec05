import pickle

import numpy as np
import pytest

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.neighbour_list import NeighbourList, surroundings_of
from tests.helpers.pair_crystal import REACH, pair

CELL = np.array([[3.0, 0.2, 0], [-0.7, 3.4, 0.1], [0.3, 0.5, 4.0]])
"""Smaller than the reach, and skewed."""


def energy(positions, surroundings) -> float:
    senders, images, cell = surroundings
    arms = positions[senders] + images @ cell - positions[:, None]
    lengths = np.sqrt(np.sum(arms**2, axis=-1))
    return float(np.sum(pair(lengths[lengths > 0], np)))


def walk(steps: int, growth: float):
    """Positions, cells: atoms that diffuse out of a cell that shears and grows or shrinks."""
    draw = np.random.default_rng(0)
    cell = CELL.copy()
    fractions = draw.uniform(size=(5, 3)) * 0.2 + np.arange(5)[:, None] * [0.2, 0.4, 0.6]
    for _ in range(steps):
        strain = draw.normal(size=(3, 3)) * 2e-3 + growth * np.eye(3)
        cell = cell @ (np.eye(3) + strain)
        fractions = fractions + 4e-3 * draw.normal(size=(5, 3))
        # Whole cells away, as after long dynamics.
        yield (fractions + [7, -4, 0]) @ cell, cell


@pytest.mark.parametrize("growth", [-4e-3, 4e-3])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, True)])
def test_a_list_is_as_good_as_a_fresh_one_and_one_that_is_never_made_again_is_not(growth, pbc):
    listed, first = NeighbourList(REACH, skin=0.6), None
    errors, stale, counts = [], [], []
    for positions, cell in walk(60, growth):
        found = listed(positions, cell, np.array(pbc))
        fresh = energy(*surroundings_of(positions, cell, np.array(pbc), REACH, "it"))
        first = first or found[1]
        counts.append(found[1].senders.shape[1])
        errors.append(abs(energy(*found) - fresh))
        kept = first._replace(cell=found[1].cell)
        stale.append(abs(energy(positions, kept) - fresh))
    assert max(errors) < 1e-11
    assert counts == sorted(counts) and len(set(counts)) <= 3
    assert (2 if growth < 0 else 1) <= listed.searches < 20
    # Of so few atoms without a cell, each sees all others.
    assert max(stale) > 1e-2


def test_shrinking_alone_uses_up_the_skin_though_no_atom_leaves_its_place_in_the_cell():
    listed = NeighbourList(3.0, skin=0.3)
    positions, pbc = np.zeros((1, 3)), np.ones(3, bool)
    searches = []
    for scale in (1.0, 0.95, 0.92, 0.9, 1.05, 1.3):
        listed(positions, 2 * scale * np.eye(3), pbc)
        searches.append(listed.searches)
    # Of 3.3 Angstrom, 3.135, 3.036 and 2.97 are left; in a list made there, more when it grows.
    assert searches == [1, 1, 1, 2, 2, 2]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    listed(positions, 2 * 0.9 * turn, pbc)
    listed(positions + 100, 2 * 0.9 * turn, pbc)
    assert listed.searches == 2
    listed(positions, 2 * 0.9 * np.eye(3), np.array([True, True, False]))
    assert listed.searches == 3


def test_slots_are_rounded_up_and_never_less_and_all_others_of_a_small_molecule():
    listed = NeighbourList(3.0, skin=0.0)
    positions, pbc = np.zeros((1, 3)), np.ones(3, bool)
    slots = []
    for length in (2.9, 2.0, 2.9):
        slots.append(listed(positions, length * np.eye(3), pbc)[1].senders.shape[1])
    assert slots == [8, 24, 24]
    apart = np.diag([9.0, 0, 0])[:2]
    _, (senders, images, _) = listed(apart, np.zeros((3, 3)), ~pbc)
    np.testing.assert_array_equal(senders, [[0], [1]])
    assert not images.any()


def test_a_pickle_has_the_lengths_alone():
    listed = NeighbourList(REACH)
    listed(*next(walk(1, 0.0)), np.ones(3, bool))
    again = pickle.loads(pickle.dumps(listed))
    assert (again.cutoff, again.skin, again.searches) == (REACH, listed.skin, 0)


def test_lengths_and_cells_of_another_kind_are_refused():
    for arguments, message in [((0.0,), "cutoff .*got 0"), ((1.0, -1.0), "skin .*got -1")]:
        with pytest.raises(UsageError, match=message):
            NeighbourList(*arguments)
    positions, pbc = np.zeros((1, 3)), np.array([True, True, False])
    for cell, message in [
        (np.zeros((3, 3)), "Si: the cell must have a vector"),
        (np.ones((3, 3)), "Si: the cell must have a volume"),
    ]:
        with pytest.raises(DataError, match=message):
            NeighbourList(3.0)(positions, cell, pbc, "Si")
