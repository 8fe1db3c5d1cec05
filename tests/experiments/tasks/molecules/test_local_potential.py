"""Energies over local frames: exact, smooth, size-consistent, and of crystals."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule, niggli_reduce

from experiments.errors import UsageError
from experiments.tasks.molecules import local_elements, local_room
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.data.neighbour_table import neighbour_tables
from experiments.tasks.molecules.local_potential import make_potential
from experiments.tasks.molecules.networks import neighbour_table, parts
from experiments.tasks.molecules.networks.neighbour_table import Elements, Surroundings
from experiments.tasks.molecules.strain import derivatives_of
from symjax_frames.testing import hard_clouds
from tests.helpers.backbones import draw_params, jit
from tests.helpers.hooks import unhooked
from tests.helpers.networks import promotion

EPS = np.finfo(np.float64).eps
CUTOFF = 3.0
FACTS = MoleculeFacts((1, 6, 8), (0.0, 0.0, 0.0), 1.0)
ATOMS, SLOTS = 8, 20
SIZES = {"hidden": 8, "layers": 2, "radial": 2, "degree": 1, "cutoff": CUTOFF}
LOCAL = {"frame": "local", "threshold": 0.6, "max_elements": 48, "capacity": (8, 8)}
MESSAGES = [{"vectors": 2}, {"messages": "in_one_frame"}]


@pytest.fixture(autouse=True, scope="module")
def _float64():
    with promotion(np.float64):
        yield


@pytest.fixture(scope="module", params=MESSAGES, ids=["between_frames", "in_one_frame"])
def messages(request):
    return request.param


def model(backbone="message_passing", **options):
    options = {**LOCAL, **({} if "messages" in options else {"vectors": 2}), **options}
    if options["frame"] != "local":
        options = {"frame": options["frame"]}
    config = MoleculesModelConfig(**{**SIZES, "backbone": backbone, **options})
    return make_potential(config, FACTS, "energy_forces")


def padded(clouds):
    """Positions and species of clouds, filled up with padding that is somewhere."""
    positions, species = np.full((len(clouds), ATOMS, 3), 0.7), np.zeros((len(clouds), ATOMS), int)
    for row, (points, numbers) in enumerate(clouds):
        positions[row, : len(points)], species[row, : len(points)] = points, numbers
    return positions, species.astype(np.int32)


def turn_of(seed):
    """A random rotation."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return turn * np.linalg.det(turn)


def molecules():
    found = {}
    for name in ("H2O", "NH3", "CH4", "CO2", "C2H2", "C2H4", "CH3OH"):
        atoms = molecule(name)
        found[name] = atoms.positions, np.searchsorted([1, 6], atoms.numbers, "right")
    for name in ("octahedron", "square", "asymmetric line", "one point", "cube"):
        points = 1.2 * np.asarray(hard_clouds()[name])
        points = np.pad(points, ((0, 0), (0, 3 - points.shape[1])))
        found[name] = points, np.ones(len(points), int)
    return found


@pytest.fixture(scope="module")
def energies(messages):
    """The energies of a batch of molecules, and those of the network without an average."""
    potential, bare = model("transformer", **messages), model("transformer", frame="none")
    params = draw_params(potential)
    both = [potential.energies(params), bare.energies(params)]
    return jit(lambda *batch: [one(*batch) for one in both])


def test_energies_are_invariant_on_every_molecule(energies):
    linear = -turn_of(1)
    positions, species = padded(list(molecules().values()))
    still, bare = energies(positions, species)
    moved, bare_moved = energies(positions @ linear.T + np.array([0.3, -2.0, 1.0]), species)
    np.testing.assert_allclose(moved, still, atol=2e3 * EPS * float(np.max(np.abs(still))))
    assert np.median(np.abs(bare_moved - bare)) > 1e-3


def test_energies_of_what_is_far_apart_add_up(energies):
    """Also of a chain, whose atoms at the ends see no line but a plane through their neighbours."""
    water, carbon = (molecules()[name] for name in ("H2O", "CO2"))
    far = carbon[0] + np.array([0.0, 40.0, 0.0])
    both = np.concatenate([water[0], far]), np.concatenate([water[1], carbon[1]])
    found, _ = energies(*padded([water, carbon, both]))
    assert abs(found[2] - found[0] - found[1]) < 1e3 * EPS * abs(found[2])
    # A frame of all atoms turns both molecules with the way from one to the other.
    potential = model(frame="pca")
    of_all = jit(potential.energies(draw_params(potential)))
    found = of_all(*padded([water, carbon, both]))
    assert abs(found[2] - found[0] - found[1]) > 1e-3


def crystals():
    """Cells of one element, each with another one of the same crystal."""
    copper = bulk("Cu", "fcc", 2.9)
    rattled = bulk("Si", "diamond", 4.1)
    rattled.positions[1] += [0.1, -0.07, 0.04]
    sheared = rattled.copy()
    sheared.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ rattled.cell.array)
    reduced = rattled.copy()
    niggli_reduce(reduced)
    moved = rattled.copy()
    moved.positions += [0.3, 5.0, -2.0]
    wrapped = moved.copy()
    wrapped.wrap()
    doubled = make_supercell(rattled, [[2, 0, 0], [0, 1, 0], [0, 0, 1]])
    return [rattled, sheared, reduced, moved, wrapped, doubled, copper]


def periodic(structures, cutoff=CUTOFF):
    """The inputs of a potential, with what is nearer than a cutoff."""
    positions, species = padded([(atoms.positions, np.ones(len(atoms))) for atoms in structures])
    cells = np.stack([atoms.cell.array for atoms in structures])
    pbc = np.stack([atoms.pbc for atoms in structures])
    tables = neighbour_tables(positions, species, cells, pbc, cutoff)
    senders, images = tables.values()
    # As many slots for all tests, which so share one program.
    own = np.broadcast_to(np.arange(ATOMS)[:, None], (*senders.shape[:2], SLOTS - senders.shape[2]))
    senders = np.concatenate([senders, own], axis=2)
    images = np.pad(images, ((0, 0), (0, 0), (0, SLOTS - images.shape[2]), (0, 0)))
    return positions, species, Surroundings(senders, images, cells)


@pytest.fixture(scope="module")
def of_crystals(messages):
    """Energies, forces and stresses of crystals, of a few atoms and elements at a time."""
    potential = model(max_elements=96, capacity=(12, 12), **messages)
    found = jit(derivatives_of(potential.with_spreads(draw_params(potential))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_elements, "FRAMES", 40)
        patch.setattr(parts, "_EDGES", 300 * SLOTS)
        found(*periodic(crystals()))
    return lambda *inputs: jax.device_get(found(*inputs))


def test_crystals_have_an_energy_whatever_the_cell(of_crystals):
    structures = crystals()
    positions, species, surroundings = periodic(structures)
    found = of_crystals(positions, species, surroundings)
    of_atom = np.asarray(found.energy) / [len(atoms) for atoms in structures]
    np.testing.assert_allclose(of_atom[:6], of_atom[0], rtol=1e3 * EPS)
    # The reduced cell is a turned one too.
    stresses = np.linalg.eigvalsh(found.stress[:6])
    np.testing.assert_allclose(stresses, np.stack([stresses[0]] * 6), atol=1e4 * EPS)
    # Without images it is another structure.
    alone = surroundings._replace(images=0 * surroundings.images)
    single = np.asarray(of_crystals(positions, species, alone).energy)
    assert abs(single[5] / 4 - single[0] / 2) > 1e-3
    # A turned crystal, with its cell.
    linear = turn_of(3)
    turned = of_crystals(
        positions @ linear.T,
        species,
        surroundings._replace(cell=surroundings.cell @ linear.T),
    )
    np.testing.assert_allclose(turned.energy, found.energy, rtol=1e4 * EPS)
    expected = linear @ found.stress @ linear.T
    np.testing.assert_allclose(turned.stress, expected, atol=1e4 * EPS * np.max(np.abs(expected)))


def test_forces_and_stresses_equal_differences_of_the_energy(of_crystals):
    structures = crystals()[:1] * 7
    inputs = periodic(structures)
    found = of_crystals(*inputs)
    stress = np.asarray(found.stress[0])
    np.testing.assert_allclose(stress, stress.T, atol=1e3 * EPS * np.max(np.abs(stress)))
    rng, step = np.random.default_rng(0), 1e-4
    strains = rng.normal(size=(3, 3, 3))
    strains = np.concatenate([(strains + np.swapaxes(strains, 1, 2)) / 2, np.zeros((4, 3, 3))])
    shifts = rng.normal(size=(7, 1, 3)) * (np.arange(7) >= 3)[:, None, None]
    shifts = np.where(np.arange(ATOMS)[:, None] == 0, shifts, 0.0)

    def energies(side):
        deformed = np.eye(3) + side * step * strains
        positions, species, surroundings = inputs
        return of_crystals(
            positions @ deformed + side * step * shifts,
            species,
            surroundings._replace(cell=surroundings.cell @ deformed),
        ).energy

    # Central differences of fourth order.
    slopes = (8 * (energies(1) - energies(-1)) - energies(2) + energies(-2)) / (12 * step)
    volume = structures[0].get_volume()
    virials = volume * np.sum(found.stress * strains, axis=(1, 2))
    work = -np.sum(found.forces * shifts, axis=(1, 2))
    np.testing.assert_allclose(slopes[:3], virials[:3], rtol=1e-7)
    np.testing.assert_allclose(slopes[3:], work[3:], rtol=1e-7, atol=1e-9)
    assert np.min(np.abs(virials[:3])) > 1e-3


def test_the_stress_of_a_molecule_in_a_box_is_that_of_its_own_forces(of_crystals):
    atoms = molecule("CH3OH")
    atoms.set_cell([20.0, 21.0, 22.0])
    atoms.pbc = True
    found = of_crystals(*periodic([atoms] * 7))
    assert np.max(np.abs(found.stress)) * atoms.get_volume() > 1e-2
    # So a molecule at rest has none.
    rest = found.stress[0] * atoms.get_volume() + np.einsum(
        "ai,aj->ij", found.forces[0], arms_of(atoms)
    )
    np.testing.assert_allclose(rest, 0, atol=1e-9)


def arms_of(atoms):
    arms = np.zeros((ATOMS, 3))
    arms[: len(atoms)] = atoms.positions - atoms.positions.mean(axis=0)
    return arms


def test_nothing_jumps_when_an_atom_comes_into_sight(of_crystals):
    """An atom on its way into the neighbourhood of another one, and into a list that is too short."""
    atoms = molecule("CH3OH")
    first = atoms.positions[0]
    along = np.linspace(1.03, 0.97, 56)[:, None] * np.array([0.0, 1.0, 0.0])

    def jumps(cutoff):
        """The largest steps of the forces, of all points and of every fourth one."""
        paths = [Atoms("CH3OHH", [*atoms.positions, first + cutoff * end]) for end in along]
        found = []
        for start in range(0, 56, 7):
            part = periodic(paths[start : start + 7], cutoff)
            found.append(of_crystals(*part).forces)
        forces = np.concatenate(found)
        return [np.max(np.abs(np.diff(forces[::step], axis=0))) for step in (1, 4)]

    fine, coarse = jumps(CUTOFF)
    assert fine < 0.4 * coarse
    fine, coarse = jumps(0.83 * CUTOFF)
    assert fine > 0.5 * coarse


@pytest.mark.parametrize(
    ("options", "equal"),
    [
        ({"layers": 1, "vectors": 0}, True),
        ({"layers": 1, "vectors": 2}, False),
        ({"messages": "in_one_frame"}, True),
    ],
)
def test_draws_have_the_whole_average_for_their_mean_where_frames_send_nothing(options, equal):
    """Vectors have components in the element that is drawn, and messages of it are no mean of all."""
    potential = model(**options)
    params = draw_params(potential)
    positions, species = map(jnp.asarray, padded([molecules()["CH3OH"]]))

    @jit
    def both():
        atoms = local_elements.side_by_side(positions, species, None)
        frame, networks = potential.frame_of(atoms), potential.outputs(params)

        def term(linear, weights):
            return jnp.sum(weights * networks(atoms, Elements(None, linear, jnp.ones(ATOMS)))[0])

        terms = jax.lax.map(lambda row: term(*row), (frame.elements.linear, frame.weights))
        return jnp.sum(terms), potential.energies(params)(positions, species)[0]

    mean, whole = both()
    if equal:
        np.testing.assert_allclose(mean, whole, rtol=1e-12)
    else:
        assert abs(mean - whole) > 1e-4


def test_a_line_of_atoms_sees_no_axes_across_it(monkeypatch):
    """The end of a chain sees atoms on a line; these send vectors across it, as others are there."""
    points = np.array([[0.0, 0, 0], [2.5, 0, 0], [4.5, 1.5, 0], [4.4, -0.9, 1.2]])
    clouds = []
    for key in range(3):
        clouds.append((points @ turn_of(key).T, np.array([1, 2, 3, 1])))
    potential = model()
    energies = functools.partial(potential.energies, draw_params(potential))
    exact = np.asarray(jit(energies())(*padded(clouds)))
    assert np.ptp(exact) < 1e4 * EPS * np.max(np.abs(exact))
    monkeypatch.setattr(neighbour_table, "_FLAT", 0.0)
    undamped = np.asarray(jit(energies())(*padded(clouds)))
    assert np.ptp(undamped) > 1e-6


def test_atoms_whose_frame_has_no_room_are_refused_with_what_has_room():
    clouds = padded([molecules()[name] for name in ("H2O", "CH4", "octahedron", "cube")])

    tight = model(max_elements=4, capacity=(2, 2))
    with pytest.raises(UsageError, match="max_elements: must have room") as caught:
        tight.refuse_overflows(lambda index: f"number {index}", *clouds)
    text = str(caught.value)
    assert "at an atom of number 1 " in text and "(of 3 structures" in text
    elements, *capacity = map(int, re.findall(r"\d+", text[text.index("orientation") :])[:3])
    model(max_elements=elements, capacity=tuple(capacity)).refuse_overflows(str, *clouds)
    # Counted among the choices that had room, elements are too few.
    _, needed = local_room._rooms(tight.config, (2, 2), clouds)
    assert needed[:, 2].max() < elements


def test_atoms_with_too_many_ties_are_told_of_the_threshold(monkeypatch):
    monkeypatch.setattr(local_room, "MOST_ELEMENTS", 8)
    clouds = padded([molecules()[name] for name in ("H2O", "CH4", "octahedron", "cube")])
    with pytest.raises(UsageError, match=r"more than 8 elements are needed.* a higher thresh"):
        model(max_elements=4, capacity=(2, 2)).refuse_overflows(str, *clouds)


def test_one_program_is_exported_for_all_numbers_of_atoms_and_neighbours(
    messages, of_crystals, monkeypatch
):
    """Also for so many that their frames, and their elements, are made in parts."""
    monkeypatch.setattr(local_elements, "FRAMES", 3)
    monkeypatch.setattr(parts, "_EDGES", 150 * SLOTS)
    potential = model(max_elements=96, capacity=(12, 12), **messages)
    energies = potential.energies(draw_params(potential))

    def program(*structure):
        structure = (*structure[:2], Surroundings(*structure[2:]))
        [energy] = energies(*jax.tree.map(lambda leaf: leaf[None], structure))
        return energy, tuple(potential.room(*structure))

    atoms, slots = jax.export.symbolic_shape("atoms, slots")
    shapes = (atoms, 3), (atoms,), (atoms, slots), (atoms, slots, 3), (3, 3)
    kinds = map(jnp.dtype, ("float64", "int32", "int32", "int32", "float64"))
    with unhooked():
        described = map(jax.ShapeDtypeStruct, shapes, kinds)
        exported = jit(jax.export.export(jit(program))(*described).call)
    whole = periodic(crystals())
    expected = np.asarray(of_crystals(*whole).energy)
    # Of four atoms with fewer slots, and of one with padding.
    for row, count, width in [(5, 4, SLOTS - 2), (6, 3, SLOTS)]:
        structure = jax.tree.map(lambda leaf, row=row: leaf[row], whole)
        positions, species, (senders, images, cell) = structure
        assert np.all(images[:count, width:] == 0)
        table = (table[:count, :width].astype(np.int32) for table in (senders, images))
        inputs = positions[:count], species[:count], *table, cell
        energy, room = exported(*inputs)
        assert float(energy) == pytest.approx(expected[row], rel=1e3 * EPS)
    of_run = jit(potential.room)(*inputs[:2], Surroundings(*inputs[2:]))
    np.testing.assert_allclose(room[0], of_run.dropped, atol=1e3 * EPS)
    np.testing.assert_array_equal(room[1], of_run.needed)
    assert np.all(np.asarray(room[1]) > 1)
    # Without images it is another structure.
    moved, _ = exported(*inputs[:3], 0 * inputs[3], inputs[4])
    assert abs(float(moved) - expected[6]) > 1e-3
