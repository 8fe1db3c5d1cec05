import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.tasks.molecules import task as molecules
from experiments.tasks.molecules.config import MoleculesConfig, MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.potential import Potential
from tests.helpers.backbones import draw_params, forces_of, jit
from tests.helpers.networks import promotion

EPS = np.finfo(np.float64).eps
# Epsilons of rounding: sums of a few dozen terms in another order, in a network six maps deep, of
# clouds that a frame turns with an error of a few epsilons over the gaps of its axes, of a tenth.
FEW = 500
COUNT = 2000
FACTS = MoleculeFacts((1, 6, 8), (0.0, 0.0, 0.0), 2.0)
# The corners of a stretched box, shaken: no two atoms are near, no two axes are alike; and padding.
CORNERS = np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.9, 0], [0, 0, 2.6], [1.2, 1.9, 0], [9, 9, 9]])
POSITIONS = CORNERS + np.random.default_rng(0).normal(size=(6, 3)) / 20
SPECIES = np.array([2, 3, 1, 1, 1, 0], np.int32)
# Any network will do; that of points is the fastest to compile.
SIZES = {"backbone": "point_sum", "hidden": 4, "layers": 1}
PCA = {"frame": "pca", "training_average": "sampled"}
# So low a threshold that three pairs of elements have a weight, each another one.
ROBUST = PCA | {"frame": "robust", "threshold": 0.2, "max_elements": 8, "capacity": (5, 5)}
QUADRATURE = PCA | {"frame": "quadrature", "quadrature_degree": 3}


@pytest.fixture(autouse=True)
def _float64():
    with promotion(np.float64):
        yield


def make(kind=Potential, **model):
    return kind(MoleculesModelConfig(**SIZES, **model), FACTS, "energy")


def at_molecule(fn, *args):
    """A compiled function of what comes before the positions and species."""
    return jax.tree.map(np.asarray, jit(fn)(*args, POSITIONS, SPECIES))


def draws_of(potential, params):
    """A function of random keys and a molecule to the draws of training."""
    return jax.vmap(potential.trained(params), (0, None, None))


@pytest.mark.parametrize("frame", [PCA, ROBUST, QUADRATURE], ids=lambda model: model["frame"])
def test_a_draw_is_the_energy_at_one_element_and_their_mean_is_the_model(frame, keys):
    potential = make(**frame)
    params = draw_params(potential)

    def evaluate(keys, positions, species):
        elements, weights = potential.frame(positions, species)
        clouds = jax.vmap(sf.points.pull, (0, None))(elements, positions)
        terms = jax.vmap(potential.bare(params), (0, None))(clouds, species)
        whole = (fn(params)(positions, species) for fn in (potential.energy, potential.bare))
        _, spread = potential.with_spreads(params)(positions[None], species[None])
        draws = draws_of(potential, params)(keys, positions, species)
        return spread, weights, terms, *whole, draws

    many = jax.random.split(next(keys), COUNT)
    spread, weights, terms, model, bare, draws = at_molecule(evaluate, many)
    terms = terms[weights > 0]
    weights, tolerance = weights[weights > 0], FEW * EPS * np.max(np.abs(terms))
    np.testing.assert_allclose(model, weights @ terms, atol=tolerance)
    deviation = np.sqrt(weights @ (terms - model) ** 2)
    np.testing.assert_allclose(spread["energy_spread"], [deviation], rtol=1e-6)
    assert list(spread) == ["energy_spread"] and deviation > 1e-2 * abs(model)
    distances = np.abs(draws[:, None] - terms)
    assert np.max(np.min(distances, axis=1)) < tolerance

    # Five standard errors, of how often each element is drawn and of the mean.
    often = np.bincount(np.argmin(distances, axis=1), minlength=len(terms)) / COUNT
    assert np.max(np.abs(often - weights) / np.sqrt(weights * (1 - weights) / COUNT)) < 5
    error = 5 * np.std(draws) / COUNT**0.5
    assert abs(np.mean(draws) - model) < error
    # The control: the network as it is, which is no average and hardly ever drawn.
    assert abs(bare - model) > 2 * error
    assert np.mean(np.abs(draws - bare) > 1e6 * tolerance) > 0.9


class Shown(Potential):
    """A potential whose gradient by its parameters is the cloud that the network is shown."""

    def bare(self, params):
        return lambda positions, species, graph=None: jnp.sum(params * positions)


@pytest.mark.parametrize("augmentation, signs", [("rotations", {1}), ("reflections", {-1, 1})])
def test_augmentation_turns_molecules_uniformly(augmentation, signs, keys):
    potential, shown = (make(kind, augmentation=augmentation) for kind in (Potential, Shown))
    params, many = draw_params(potential), jax.random.split(next(keys), 400)
    cloud = jax.grad(lambda probe, key, *molecule: shown.trained(probe)(key, *molecule))

    def evaluate(keys, positions, species):
        probe = jnp.zeros_like(positions)
        clouds = jax.vmap(cloud, (None, 0, None, None))(probe, keys, positions, species)
        terms = jax.vmap(potential.bare(params), (0, None))(clouds, species)
        draws = draws_of(potential, params)(keys, positions, species)
        return clouds, terms, draws, potential.bare(params)(positions, species)

    clouds, terms, draws, bare = at_molecule(evaluate, many)
    turns = np.linalg.pinv(POSITIONS) @ clouds
    np.testing.assert_allclose(POSITIONS @ turns, clouds, atol=FEW * EPS)
    assert np.max(np.abs(turns @ np.swapaxes(turns, 1, 2) - np.eye(3))) < FEW * EPS
    assert set(np.round(np.linalg.det(turns))) == signs
    # Five standard errors: the mean square of an entry is a third.
    assert np.max(np.abs(np.mean(turns, axis=0))) < 5 / (3 * len(many)) ** 0.5

    tolerance = FEW * EPS * np.max(np.abs(terms))
    np.testing.assert_allclose(draws, terms, atol=tolerance)
    assert np.min(np.abs(draws - bare)) > 1e6 * tolerance


def test_full_averages_read_no_key_and_more_samples_spread_less(keys):
    full, *sampled = make(frame="pca"), make(**PCA), make(**PCA, num_samples=4)
    sampled.append(make(**PCA, num_samples=8, draws="systematic"))
    params, many = draw_params(full), jax.random.split(next(keys), COUNT)

    def evaluate(keys, positions, species):
        draws = (draws_of(model, params)(keys, positions, species) for model in (full, *sampled))
        return full.energy(params)(positions, species), *draws

    model, draws, one, four, every = at_molecule(evaluate, many)
    assert np.ptp(draws) == 0 and abs(draws[0] - model) < FEW * EPS * abs(model)
    # Eight of eight without replacement are all.
    np.testing.assert_allclose(every, np.full(COUNT, model), rtol=FEW * EPS)
    assert np.std(one) > 1e-2 * abs(model)
    # A half, within five times what the quotient of spreads of so many draws scatters by.
    assert abs(np.std(four) / np.std(one) - 1 / 2) < 5 / 2 / COUNT**0.5


def weighted_axes(positions, mask, *, detach, **options):
    """In place of a robust frame, which takes long to compile: axes with weights that change."""
    del options
    frame = sf.pca_frame(positions, mask, detach=detach)
    heights = jax.vmap(sf.points.pull, (0, None))(frame.elements, positions)[:, 0]
    weights = jax.nn.sigmoid(heights @ jnp.asarray([1.0, 2.0, 3.0]))
    weights = jax.lax.stop_gradient(weights) if detach else weights
    return frame._replace(weights=weights / jnp.sum(weights))


def test_forces_of_a_draw_follow_its_element_and_not_its_weight(monkeypatch, keys):
    monkeypatch.setattr(sf, "robust_frame", weighted_axes)
    moving, detached = make(**ROBUST), make(**ROBUST, detach=True)
    params, many = draw_params(moving), jax.random.split(next(keys), 32)

    def terms(anchor, positions, species):
        elements, weights = moving.frame(anchor, species)
        clouds = jax.vmap(sf.points.pull, (0, None))(elements, positions)
        both = jax.vmap(moving.bare(params), (0, None))(clouds, species), weights
        return both, both

    def draw(potential, keys, *molecule):
        energy_and_slope = jax.value_and_grad(potential.trained(params), 1)
        return jax.vmap(energy_and_slope, (0, None, None))(keys, *molecule)

    # One program: the frame is the same in all of it.
    def evaluate(keys, positions, species):
        derivatives = jax.jacobian(terms, (0, 1), has_aux=True)(positions, positions, species)
        return derivatives, *(draw(kind, keys, positions, species) for kind in (moving, detached))

    (slopes, (values, weights)), *draws = at_molecule(evaluate, many)
    (turning, staying), (drift, _) = slopes
    values = np.where(weights > 0, values, np.inf)
    tolerance = FEW * EPS * np.max(np.abs(staying))
    for (energies, gradients), slopes in zip(draws, (turning + staying, staying), strict=True):
        drawn = np.argmin(np.abs(energies[:, None] - values), axis=1)
        assert len(np.unique(drawn)) > 2
        np.testing.assert_allclose(gradients, slopes[drawn], atol=tolerance)
        # The controls: what an element's motion and a weight's derivative add is not nothing.
        weighed = (energies / weights[drawn])[:, None, None] * drift[drawn]
        for part in (turning[drawn], weighed):
            assert np.min(np.max(np.abs(part), axis=(1, 2))) > 1e6 * tolerance


def test_energies_are_in_units_of_the_scale_of_the_training_set():
    one, three = make(), Potential(make().config, FACTS._replace(scale=6.0), "energy")
    params = draw_params(one)
    pair = at_molecule(lambda *molecule: [kind.bare(params)(*molecule) for kind in (one, three)])
    assert pair[1] == pytest.approx(3 * pair[0], rel=FEW * EPS) != 0


def make_task(monkeypatch, targets, model=SIZES, **train):
    """The task without its data."""
    splits = {"train": {"species": SPECIES[None]}}
    monkeypatch.setattr(molecules, "load_molecules", lambda **_: (splits, FACTS))
    data = {"kind": "file", "path": "unread.npz", "targets": targets}
    sections = {"data": data, "model": model, "train": {"epochs": 1, **train}}
    return molecules.MoleculesTask(MoleculesConfig(task="molecules", run="unused", **sections))


def draw_batch():
    """Molecules of five and four atoms, with labels of the padding too."""
    rng = np.random.default_rng(1)
    shapes = {"energy": (), "forces": (5, 3), "dipole": (3,), "polarizability": (3, 3)}
    batch = {name: rng.normal(size=(3, *shape)) for name, shape in shapes.items()}
    batch["positions"] = CORNERS[:5] + rng.normal(size=(3, 5, 3)) / 20
    batch["species"] = np.array([[2, 3, 1, 1, 1], [3, 2, 1, 1, 0], [3, 2, 2, 1, 1]], np.int32)
    return batch


def penalty(errors, loss):
    """Of error vectors along the last axis."""
    squares = np.sum((np.asarray(errors) / FACTS.scale) ** 2, axis=-1)
    return squares if loss == "mse" else np.sqrt(squares + 1e-3**2) - 1e-3


def test_the_loss_of_forces_is_its_formula(monkeypatch, keys):
    settings = list(itertools.product(("l1", "mse"), (0, 0.1, 1)))
    task_of = functools.partial(make_task, monkeypatch, "energy_forces")
    tasks = [task_of(loss=loss, energy_weight=weight) for loss, weight in settings]
    params, batch = draw_params(tasks[0].potential), draw_batch()
    run = jit(lambda *args: jnp.stack([task.loss(*args) for task in tasks]))
    losses = np.asarray(run(params, batch, next(keys)))

    model = jax.vmap(forces_of(tasks[0].potential.bare(params)))
    energy, forces = jit(model)(batch["positions"], batch["species"])
    real = batch["species"] > 0
    assert set(np.sum(real, axis=1)) == {4, 5}
    for value, (loss, weight) in zip(losses, settings, strict=True):
        lengths = penalty(forces - batch["forces"], loss)
        terms = [np.mean(row[atoms]) for row, atoms in zip(lengths, real, strict=True)]
        terms += weight * penalty((energy - batch["energy"])[:, None], loss)
        np.testing.assert_allclose(value, np.mean(terms), rtol=FEW * EPS)
    # The controls: labels of padding change nothing, and each setting says something else.
    padded = batch | {"forces": np.where(real[..., None], batch["forces"], 9.0)}
    np.testing.assert_array_equal(run(params, padded, next(keys)), losses)
    assert np.min(np.diff(np.sort(losses))) > 1e-3


@pytest.mark.parametrize("targets", ["energy", "dipole", "polarizability"])
def test_the_loss_of_all_else_is_the_mean_over_molecules(targets, monkeypatch, keys):
    l1, mse = tasks = [make_task(monkeypatch, targets, loss=loss) for loss in ("l1", "mse")]
    params, batch = draw_params(l1.potential), draw_batch()

    def evaluate(params, batch, key):
        model = jax.vmap(l1.potential.bare(params))
        losses = jnp.stack([task.loss(params, batch, key) for task in tasks])
        return losses, model(batch["positions"], batch["species"])

    losses, predicted = jit(evaluate)(params, batch, next(keys))
    errors = (predicted - batch[targets]).reshape(3, -1)
    expected = [np.mean(penalty(errors, loss)) for loss in ("l1", "mse")]
    np.testing.assert_allclose(losses, expected, rtol=FEW * EPS)
    assert abs(expected[0] - expected[1]) > 1e-3


def test_every_molecule_of_a_batch_has_a_draw_of_its_own(monkeypatch, keys):
    task = make_task(monkeypatch, "energy", model=SIZES | PCA)
    twice = {name: np.stack([array[0]] * 2) for name, array in draw_batch().items()}
    run = jit(jax.vmap(task.loss, (None, None, 0)))
    losses = run(draw_params(task.potential), twice, jax.random.split(next(keys), 200))
    # One draw for both would give a value for each of eight elements, and the full average one.
    assert len(np.unique(np.round(losses, 9))) > 8
