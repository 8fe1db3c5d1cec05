"""Tables of neighbours against a sum over images, in cells of every shape."""

import itertools
import sys

import numpy as np
import pytest

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data import periodic_pairs
from experiments.tasks.molecules.data.neighbour_table import neighbour_table, neighbour_tables
from experiments.tasks.molecules.data.periodic_pairs import ase_pairs, vesin_pairs

CUTOFF = 3.1
CELLS = {
    "triclinic": ([[4.0, 0.3, -0.5], [1.5, 3.8, 0.2], [-0.7, 1.1, 4.4]], [1, 1, 1]),
    "left-handed": ([[0.3, 4.0, -0.5], [3.8, 1.5, 0.2], [1.1, -0.7, 4.4]], [1, 1, 1]),
    "smaller than the cutoff": ([[1.9, 0.1, 0.0], [0.6, 2.1, 0.0], [0.3, 0.2, 2.3]], [1, 1, 1]),
    "a slab": ([[3.0, 0.4, 0.1], [0.5, 2.7, 0.0], [9.9, 9.9, 9.9]], [1, 1, 0]),
    "a chain": ([[0, 0, 0], [0.5, 2.2, 0.3], [0, 0, 0]], [0, 1, 0]),
    "a molecule": ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], [0, 0, 0]),
}


def drawn(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cell, pbc = CELLS[name]
    # Far outside of the cell too.
    positions = np.random.default_rng(1).uniform(-6, 6, size=(5, 3))
    return positions, np.array(cell, float), np.array(pbc, bool)


def edges(table, positions, cell) -> list[tuple]:
    """Receiver, sender and vector of every edge that is no padding."""
    senders, images = table
    found = []
    for receiver, (row, shifts) in enumerate(zip(senders, images, strict=True)):
        for sender, image in zip(row, shifts, strict=True):
            if sender != receiver or image.any():
                arm = positions[sender] + image @ cell - positions[receiver]
                found.append((receiver, int(sender), *np.round(arm, 6).tolist()))
    return sorted(found)


def summed(positions, cell, pbc) -> list[tuple]:
    """The same by a sum over all images that may be near."""
    spans = [range(-12, 13) if periodic else (0,) for periodic in pbc]
    images = np.array(list(itertools.product(*spans)))
    found = []
    for receiver, sender in np.ndindex(len(positions), len(positions)):
        arms = positions[sender] + images @ cell - positions[receiver]
        near = np.linalg.norm(arms, axis=1) < CUTOFF
        if sender == receiver:
            near &= images.any(axis=1)
        found += [(receiver, sender, *np.round(arm, 6).tolist()) for arm in arms[near]]
    return sorted(found)


def distances(table, positions, cell) -> np.ndarray:
    return np.sort([np.linalg.norm(edge[2:]) for edge in edges(table, positions, cell)])


@pytest.mark.parametrize("name", CELLS)
def test_all_pairs_are_those_of_a_sum_over_images(name):
    positions, cell, pbc = drawn(name)
    wanted = summed(positions, cell, pbc)
    for search in (ase_pairs, vesin_pairs):
        if search is vesin_pairs:
            pytest.importorskip("vesin")
        table = neighbour_table(positions, cell, pbc, CUTOFF, search=search)
        np.testing.assert_allclose(edges(table, positions, cell), wanted, atol=2e-6)
        assert [array.dtype for array in table] == [np.int32, np.int32]
        # Were images forgotten, the vectors would be others.
        forgotten = table[0], np.zeros_like(table[1])
        if pbc.any():
            assert edges(forgotten, positions, cell) != wanted


@pytest.mark.parametrize("name", ["triclinic", "a slab"])
def test_edges_are_those_of_wrapped_and_of_moved_atoms(name):
    positions, cell, pbc = drawn(name)
    wanted = np.array(edges(neighbour_table(positions, cell, pbc, CUTOFF), positions, cell))
    shifts = np.random.default_rng(2).integers(-3, 4, size=(5, 3)) * pbc
    for moved in (positions + shifts @ cell, positions + [0.3, -70.1, 2.2]):
        table = neighbour_table(moved, cell, pbc, CUTOFF)
        np.testing.assert_allclose(edges(table, moved, cell), wanted, atol=5e-6)
    bent = positions + np.eye(5, 3)
    other = edges(neighbour_table(bent, cell, pbc, CUTOFF), bent, cell)
    assert not np.array_equal(other, wanted)


def test_supercells_have_the_same_distances():
    positions, cell, pbc = drawn("triclinic")
    once = distances(neighbour_table(positions, cell, pbc, CUTOFF), positions, cell)
    shifts = np.array(list(itertools.product(range(2), range(1), range(3))))
    many = (positions[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
    large = cell * np.array([[2], [1], [3]])
    received = distances(neighbour_table(many, large, pbc, CUTOFF), many, large)
    np.testing.assert_allclose(received, np.repeat(once, 6), atol=2e-6)


def test_tables_of_many_structures_share_their_slots():
    names = ["triclinic", "a molecule", "a chain"]
    parts = [drawn(name) for name in names]
    positions = np.stack([part[0] for part in parts])
    species = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    cell, pbc = np.stack([part[1] for part in parts]), np.stack([part[2] for part in parts])
    tables = neighbour_tables(positions, species, cell, pbc, CUTOFF)
    slots = tables["senders"].shape[2]
    assert tables["images"].shape == (3, 5, slots, 3)
    for index, numbers in enumerate(species):
        real = int(np.sum(numbers > 0))
        alone = neighbour_table(positions[index, :real], cell[index], pbc[index], CUTOFF)
        assert alone[0].shape[1] <= slots
        together = tables["senders"][index], tables["images"][index]
        assert edges(together, positions[index], cell[index]) == edges(
            alone, positions[index], cell[index]
        )
        # Padding is of the atom itself, and nobody's neighbour.
        np.testing.assert_array_equal(
            together[0][real:], np.arange(real, 5)[:, None] * np.ones(slots, int)
        )
    lone = neighbour_tables(positions[1:2], species[1:2], None, None, 0.01)
    assert lone["senders"].tolist() == [[[0], [1], [2], [3], [4]]] and not lone["images"].any()


def test_without_vesin_ase_finds_the_same(monkeypatch):
    positions, cell, pbc = drawn("a slab")
    wanted = neighbour_table(positions, cell, pbc, CUTOFF)
    monkeypatch.setitem(sys.modules, "vesin", None)
    monkeypatch.setattr(periodic_pairs, "vesin_pairs", lambda *_: pytest.fail("vesin was called"))
    for one, other in zip(neighbour_table(positions, cell, pbc, CUTOFF), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_has_no_table_is_refused(monkeypatch):
    positions, cell, pbc = drawn("triclinic")
    flat = cell.copy()
    flat[2] = cell[0] - 2 * cell[1]
    none = np.zeros((3, 3))
    for wrong, match in ((flat, "must have a volume"), (none, "must have a vector in each")):
        with pytest.raises(DataError, match=f"^a.xyz: the cell {match}.*, got "):
            neighbour_table(positions, wrong, pbc, CUTOFF, label="a.xyz")
    with pytest.raises(DataError, match="the cell must have a vector in each"):
        neighbour_table(positions, None, pbc, CUTOFF)
    # The second atom is where an image of the first is.
    doubled = np.stack([positions[0], positions[0] + cell[1], positions[1]])
    for search in (ase_pairs, None):
        with pytest.raises(DataError, match="atoms 1 and 2 must be at least 0.05 .*, got"):
            neighbour_table(doubled, cell, pbc, CUTOFF, search=search)
    neighbour_table(doubled, cell, np.array([True, False, True]), CUTOFF)
    with pytest.raises(UsageError, match="cutoff must be a positive number, got 0"):
        neighbour_table(positions, cell, pbc, 0)
    with pytest.raises(DataError, match="positions must be finite"):
        neighbour_table(positions * np.nan, cell, pbc, CUTOFF)
    # It is refused before it is made.
    monkeypatch.setattr(periodic_pairs, "_installed", lambda: pytest.fail("pairs were looked for"))
    with pytest.raises(DataError, match="neighbours must fit into memory.* GB are free, got"):
        neighbour_table(positions, cell * 1e-5, pbc, CUTOFF)
