import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments import frame_room
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from experiments.tasks.molecules.config import MoleculesConfig, MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.diagnostics import consistency_errors, net_torque
from experiments.tasks.molecules.energies import EnergyAlone, value_and_slope
from experiments.tasks.molecules.potential import Potential, forces_of_batch
from experiments.tasks.molecules.task import MoleculesTask
from tests.helpers.backbones import draw_params, forces_of
from tests.helpers.device_programs import alike, exchanges, outcome
from tests.helpers.networks import promotion
from tests.helpers.pictures import assert_drawn

EPS = float(jnp.finfo(jnp.float32).eps)
MODELS = {
    "pca": {"frame": "pca", "training_average": "sampled"},
    "robust": {"frame": "robust", "max_elements": 16},
    "alone": {
        "backbone": "message_passing",
        "radial": 3,
        "degree": 1,
        "augmentation": "reflections",
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twenty-four molecules of four or five atoms with made-up labels, in the file of a user."""
    draw = np.random.default_rng(0)
    species = np.tile([6, 8, 1, 1, 1], (24, 1))
    species[::3, 4] = 0
    real = (species > 0)[..., None]
    # The corners of a stretched box, shaken: no two atoms are near, no two axes are alike.
    corners = np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.9, 0], [0, 0, 2.6], [1.2, 1.9, 0]])
    path = tmp_path_factory.mktemp("data") / "molecules.npz"
    np.savez(
        path,
        z=species,
        R=np.where(real, corners + draw.normal(size=(24, 5, 3)) / 20, 0),
        E=draw.normal(size=24) - 100,
        F=np.where(real, draw.normal(size=(24, 5, 3)), 0),
        dipole=draw.normal(size=(24, 3)),
        polarizability=(alpha := draw.normal(size=(24, 3, 3))) + np.swapaxes(alpha, 1, 2),
    )
    return {"kind": "file", "path": str(path), "num_train": 8, "num_valid": 8, "num_test": 8}


def make(data, targets="energy_forces", **model):
    # The fastest to compile, where any network will do.
    sizes = {"backbone": "point_sum", "hidden": 4, "layers": 1}
    return MoleculesTask(
        MoleculesConfig(
            task="molecules",
            run="unused",
            data=data | {"targets": targets},
            model={**sizes, **model},
            train={"epochs": 1, "batch_size": 4},
        )
    )


def batch_of(task, split="train"):
    return jax.device_put(dict(task.splits[split]))


@pytest.fixture(scope="module")
def with_pca(data):
    return make(data, **MODELS["pca"])


@pytest.mark.parametrize("name", MODELS)
def test_forces_train_and_are_as_equivariant_as_promised(data, with_pca, keys, name):
    task = with_pca if name == "pca" else make(data, **MODELS[name])
    params, batch = draw_params(task.potential, np.float32), batch_of(task)
    # Training is the same with every frame; with robust ones it takes longest to compile.
    if name != "robust":
        loss, slope = jax.jit(jax.value_and_grad(task.loss))(params, batch, next(keys))
        chex.assert_tree_all_finite((loss, slope))
        assert any(np.any(leaf) for leaf in jax.tree.leaves(slope))
    forces = np.asarray(task.predict_in_turn(params, batch)["forces"])
    real = np.asarray(batch["species"]) > 0
    assert np.all(forces[real] != 0)
    np.testing.assert_array_equal(forces[~real], 0)
    errors = task.equivariance(params, batch, next(keys))
    laws = ("SE(3)", "E(3)", "net torque", "energy-force")
    laws += ("dropped weight",) * (name == "robust")
    assert set(errors) == {f"{law}{end}" for law in laws for end in ("", " worst")}
    # Differences of an energy in float64 at 1e-4 Angstrom.
    assert errors["energy-force worst"] < 1e-6
    if name == "alone":
        # The control: a network without a frame. That of the others is in a test below.
        assert min(errors["SE(3)"], errors["E(3)"], errors["net torque"]) > 1e-3
    else:
        # Coordinates carry a rounding, and the frame divides by its gaps of a tenth.
        assert max(errors["SE(3) worst"], errors["E(3) worst"]) < 1000 * EPS
        assert errors["net torque worst"] < 100 * EPS


@pytest.mark.parametrize("targets", ["energy_forces", "energy", "dipole", "polarizability"])
def test_errors_are_means_over_a_molecule_in_the_unit_of_their_name(data, targets, monkeypatch):
    task = make(data, targets)
    batch, draw = task.splits["train"], np.random.default_rng(0)
    names = ("energy", "forces") if targets == "energy_forces" else (targets,)
    real = batch["species"] > 0
    errors = {name: draw.normal(size=batch[name].shape) for name in names}
    if "forces" in errors:
        errors["forces"] *= real[..., None]
    predicted = {name: jnp.asarray(batch[name] + errors[name], jnp.float32) for name in names}
    monkeypatch.setattr(task, "_predicted", lambda params, batch: (predicted, {}))
    expected = {
        "energy_meV": lambda energy: 1000 * np.abs(energy),
        "forces_meV_A": lambda forces: [
            1000 * np.mean(np.abs(row[atoms])) for row, atoms in zip(forces, real, strict=True)
        ],
        "dipole_mD": lambda dipole: 1000 / 0.2081943 * np.linalg.norm(dipole, axis=1),
        "polarizability_A3": lambda matrix: np.mean(np.abs(matrix), axis=(1, 2)),
    }
    metrics = jax.jit(lambda: task.evaluate({}, batch_of(task)))()
    roots = task.summarized({name: np.mean(values) for name, values in metrics.items()})
    if targets == "energy_forces":
        atoms = np.sum(real, axis=1)
        of_atoms = {"energy": errors["energy"] / atoms, "forces": errors["forces"][real]}
        for name, unit in (("energy", "meV_atom"), ("forces", "meV_A")):
            root = 1000 * np.sqrt(np.mean(of_atoms[name] ** 2))
            np.testing.assert_allclose(roots[f"{name}_rmse_{unit}"], root, rtol=1e-5)
    metrics = {name: values for name, values in metrics.items() if name in roots}
    assert set(metrics) == {key for key in expected if key.startswith(names)}
    assert task.metric == list(metrics)[-1]
    for (metric, values), name in zip(metrics.items(), names, strict=True):
        np.testing.assert_allclose(values, expected[metric](errors[name]), rtol=1e-3)


def test_detached_frames_give_forces_of_no_energy(data, keys):
    task = make(data, frame="pca", detach=True)
    params, batch = draw_params(task.potential, np.float32), batch_of(task)
    draws = jax.random.split(next(keys), 8)
    assert np.median(consistency_errors(task.potential, params, draws, batch)) > 1e-3


def test_other_averages_are_nearer_to_invariance_than_the_network(data, keys):
    """The control is the network itself; a quadrature is exact only in the limit."""
    alone = make(data)
    params, batch = draw_params(alone.potential, np.float32), batch_of(alone)
    turns = jax.vmap(lambda key: sf.orthogonal(3).draw(key, jnp.float32))(
        jax.random.split(next(keys), 8)
    )

    def spread(task):
        energy = task.potential.energy(params)

        @jax.jit
        def difference(turns):
            def one(turn, positions, species):
                moved = sf.vectors.push(turn, positions)
                return energy(moved, species) - energy(positions, species)

            return jax.vmap(one)(turns, batch["positions"], batch["species"])

        return np.max(np.abs(difference(turns)))

    before = spread(alone)
    assert before > 1e-2
    assert spread(make(data, frame="quadrature", quadrature_degree=5)) < before / 20
    assert spread(make(data, frame="pca", closure="icosahedral")) < before / 1000


@pytest.mark.parametrize("targets", ["dipole", "polarizability"])
def test_tensors_turn_with_the_molecule(data, keys, targets):
    task, alone = make(data, targets, frame="pca"), make(data, targets)
    params, batch = draw_params(task.potential, np.float32), batch_of(task)
    loss, slope = jax.jit(jax.value_and_grad(task.loss))(params, batch, next(keys))
    assert np.isfinite(loss) and any(np.any(leaf) for leaf in jax.tree.leaves(slope))
    assert task.equivariance(params, batch, next(keys))["E(3) worst"] < 1000 * EPS
    assert alone.equivariance(params, batch, next(keys))["E(3)"] > 1e-3


def test_polarizabilities_are_symmetric_and_exact_for_a_linear_molecule():
    facts = MoleculeFacts((6, 8), (0.0, 0.0), 1.0)
    config = MoleculesModelConfig(
        backbone="point_sum", hidden=4, layers=1, frame="robust", max_elements=96
    )
    potential = Potential(config, facts, "polarizability")
    params, species = draw_params(potential, np.float32), jnp.array([1, 2, 2])
    line = jnp.array([0, 1.2, -1.2], jnp.float32)[:, None] * jnp.array(
        [[0.6, 0.0, 0.8]], jnp.float32
    )
    both = jax.jit(lambda *args: [fn(params)(*args) for fn in (potential.energy, potential.bare)])
    matrix, bare = map(np.asarray, both(line, species))
    along = np.outer([0.6, 0.0, 0.8], [0.6, 0.0, 0.8])
    # One value along the molecule, and one across: no other matrix turns with it.
    across = (np.trace(matrix) - np.sum(matrix * along)) / 2
    expected = np.sum(matrix * along) * along + across * (np.eye(3) - along)
    np.testing.assert_allclose(matrix, expected, atol=100 * EPS * np.abs(matrix).max())
    assert np.array_equal(bare, bare.T) and np.abs(bare - expected).max() > 1e-3


def test_scalars_of_an_equivariant_network_are_no_tensors(data):
    with pytest.raises(ValueError, match=r"(?s)data\.targets.*e3x"):
        make(data, "dipole", backbone="e3x")


def test_energies_alone_are_learnt_too(data, keys):
    task = make(data, "energy", frame="pca")
    params, batch = draw_params(task.potential, np.float32), batch_of(task)
    loss, slope = jax.jit(jax.value_and_grad(task.loss))(params, batch, next(keys))
    assert np.isfinite(loss) and any(np.any(leaf) for leaf in jax.tree.leaves(slope))


def test_the_average_is_that_of_the_library(data, keys):
    """Against the loop over elements, in float64, and exactly zero energy for padding."""
    potential = make(data, frame="pca").potential
    params = draw_params(potential)
    positions, species = jax.random.normal(next(keys), (5, 3)), jnp.array([1, 2, 3, 1, 1])

    @jax.jit
    def terms_and_average(positions):
        elements = sf.pca_frame(positions).elements
        turned = jax.vmap(sf.points.pull, (0, None))(elements, positions)
        terms = jax.vmap(potential.bare(params), (0, None))(turned, species)
        return terms, potential.energy(params)(positions, species)

    with promotion(jnp.float64):
        terms, energy = terms_and_average(positions)
        np.testing.assert_allclose(energy, np.mean(terms), rtol=1e-12)
        assert np.ptp(np.asarray(terms)) > 1e-3
        padded = jnp.concatenate([positions, jnp.ones((2, 3))])
        padded_species = jnp.concatenate([species, jnp.zeros(2, species.dtype)])
        value, forces = jax.jit(forces_of(potential.energy(params)))(padded, padded_species)
        np.testing.assert_allclose(value, energy, rtol=1e-12)
        np.testing.assert_array_equal(forces[5:], 0)


def reflections(positions, mask, **options):
    """In place of a robust frame, which takes long to compile: weights that vanish smoothly."""
    del options
    centroid = sf.pca_frame(positions, mask, group="T").elements.shift[0]
    arms = jnp.where(mask[:, None], positions - centroid[None], 0)
    linear = jnp.asarray(sf.signs(3).elements.linear, positions.dtype)
    signs = jnp.sum(linear, axis=1)
    weights = jnp.maximum(0.1 + signs @ jnp.sum(arms**3, axis=0), 0) ** 3
    shifts = jnp.broadcast_to(centroid[None], (8, 3))
    return sf.Frame(sf.Isometry(linear, shifts), weights / jnp.sum(weights))


def test_a_batch_and_a_molecule_alone_have_the_energies_of_the_whole_average(data, monkeypatch):
    """Of frames of which a batch evaluates what has a weight; one molecule has ties."""
    monkeypatch.setattr(sf, "robust_frame", reflections)
    task = make(data, frame="robust", max_elements=8)
    potential, params, batch = task.potential, draw_params(task.potential), batch_of(task)
    square = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 0]])
    positions = np.asarray(batch["positions"], float)[:3]
    positions[0], species = square, np.asarray(batch["species"])[:3].copy()
    species[0] = [1, 1, 1, 1, 0]

    @jax.jit
    def run(positions, species):
        alone = value_and_slope(EnergyAlone(potential, params))(positions[0], species[0])
        *together, spreads = forces_of_batch(potential.with_spreads(params))(positions, species)
        return (
            jax.vmap(forces_of(potential.energy(params)))(positions, species),
            together,
            (alone[0], -alone[1]),
            jax.vmap(lambda x, z: jnp.sum(potential.frame(x, z).weights > 0))(positions, species),
        )

    with promotion(jnp.float64):
        whole, together, alone, elements = run(positions, species)
    assert elements[0] > 6, "of a first round of two for each molecule"
    assert np.all(elements[1:] < 8), "some have no weight"
    # Thousands of epsilons: of numbers of order one, summed over elements in another order.
    for expected, found, one in zip(whole, together, alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(one, expected[0], atol=1e-12)
    assert np.ptp(whole[0]) > 1e-3 and np.abs(whole[1][0]).max() > 1e-3


def test_elements_are_those_of_the_training_set(with_pca):
    potential = with_pca.potential
    assert potential.facts.elements == (1, 6, 8)
    np.testing.assert_array_equal(potential.species_of([8, 1, 6, 0]), [3, 1, 2, 0])
    with pytest.raises(UsageError, match=r"(N\b.*H, C, O|H, C, O.*\bN\b)"):
        potential.species_of([6, 7])
    references = potential.facts.references
    assert potential.reference([8, 1, 1]) == pytest.approx(references[2] + 2 * references[0])


def test_a_wrong_target_is_refused(with_pca):
    with pytest.raises(ValueError, match="targets.*'charge'"):
        Potential(with_pca.config.model, with_pca.set_facts, "charge")


def test_laws_of_forces_see_what_breaks_them(keys):
    positions, forces = jax.random.normal(next(keys), (2, 6, 3))
    species = jnp.ones(6, jnp.int32)
    radial = positions - jnp.mean(positions, axis=0, keepdims=True)
    torque = jax.jit(net_torque)
    assert torque(positions, species, forces) > 1e-2
    assert torque(positions, species, radial) < 1e-14
    assert torque(positions, species, jnp.zeros_like(forces)) == 0


def test_facts_belong_to_one_set_of_data(with_pca, tmp_path):
    folder = RunFolder(tmp_path)
    facts = with_pca.facts()
    folder.keep_facts(facts)
    # Machines differ in the last digits of a least-squares solution.
    folder.keep_facts(facts | {"scale": facts["scale"] * (1 + 1e-12)})
    assert folder.load_facts() == json.loads(json.dumps(facts))
    with pytest.raises(UsageError, match="facts.json differs"):
        folder.keep_facts(facts | {"scale": 2.0})
    with pytest.raises(UsageError, match="facts.json"):
        RunFolder(tmp_path / "nothing").load_facts()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"backbone": "e3x", "frame": "pca"}, "equivariant already"),
        ({"backbone": "transformer", "hidden": 6}, "four heads"),
        ({"closure": "permutations"}, "closure"),
        ({"frame": "pca", "max_elements": 8}, "max_elements"),
        ({"frame": "pca", "capacity": [8, 8]}, "capacity"),
        ({"frame": "pca", "augmentation": "rotations"}, "augmentation"),
        ({"frame": "quadrature", "detach": True}, "detach"),
        ({"backbone": "point_sum", "cutoff": 4.0}, "cutoff"),
    ],
)
def test_settings_that_nothing_reads_are_refused(model, words):
    make_config = functools.partial(
        MoleculesConfig, task="molecules", run="unused", data={}, train={"epochs": 1}
    )
    make_config()
    with pytest.raises(ValueError, match=words):
        make_config(model=model)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"targets": "dipole", "energy_unit": "kcal/mol"}, "energy_unit"),
        ({"targets": "energy", "forces_key": "F"}, "forces_key"),
        ({"dipole_key": "mu"}, "dipole_key"),
        ({"length_unit": "parsec"}, "(?s)length_unit.*'parsec'"),
        ({"targets": "energy", "weight": 1.0}, "energy_weight"),
    ],
)
def test_keys_and_units_that_are_not_read_or_known_are_refused_at_once(data, words):
    train = {"epochs": 1} | ({"energy_weight": data.pop("weight")} if "weight" in data else {})
    file = {"kind": "file", "path": "unread.npz"}
    rest = {"task": "molecules", "run": "unused", "train": {"epochs": 1}}
    MoleculesConfig(data=file | {"targets": data.get("targets", "energy_forces")}, **rest)
    with pytest.raises(ValueError, match=words):
        MoleculesConfig(data=file | data, **rest | {"train": train})


def test_molecules_whose_frame_has_no_room_are_named(data, monkeypatch):
    # What has room is another test's, and takes programs of its own.
    monkeypatch.setattr(frame_room, "MOST_ELEMENTS", 1)
    task = make(data, "energy", frame="robust", threshold=0.1, capacity=(1, 1))
    words = r"model\.max_elements: .* test molecule \d \(CH[23]?O\) and \d others"
    with pytest.raises(UsageError, match=words):
        task.check_room("test")
    make(data, "energy", frame="pca").check_room("test")


def test_the_report_draws_the_predictions(with_pca, tmp_path):
    params = draw_params(with_pca.potential, np.float32)
    (title, path), (_, parity), (_, page) = with_pca.report(params, tmp_path)
    assert title == "Predicted against reference forces" and path.stat().st_size > 10_000
    assert_drawn(parity)
    assert "test molecule 0, atom 1, x" in page.read_text("utf-8")


def test_forces_are_learnt_alike_on_two_devices(data, monkeypatch):
    monkeypatch.setattr(sf, "robust_frame", reflections)
    found = []
    for devices in (1, 2):
        config = MoleculesConfig(
            task="molecules",
            run="unused",
            data=data,
            model={"backbone": "point_sum", "hidden": 4, "layers": 1} | MODELS["robust"],
            train={"epochs": 2, "batch_size": 3, "seeds": (0,), "evaluation_batch_size": 4},
            mesh={"data": devices},
        )
        found.append(outcome(config, MoleculesTask(config)))
    (one, *_), (two, steps, validate) = found
    assert alike(two, one, 1e-4)
    # Each device packs the pairs of its own molecules.
    assert [kind for kind, _ in exchanges(steps)] == ["all-reduce"]
    assert {kind for kind, _ in exchanges(validate)} == {"all-reduce"}
