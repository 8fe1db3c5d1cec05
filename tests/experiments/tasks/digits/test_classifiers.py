"""Classifiers of digits: what each promises to ignore, and how it is trained and evaluated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from experiments.config.load import load_config
from experiments.tasks.digits.config import DigitsModelConfig
from experiments.tasks.digits.model import (
    CLASSES,
    Classifier,
    augmented,
    element_names,
    evaluated,
    group_named,
    trained,
)
from tests.helpers.paths import CONFIGS

SIDE = 8  # Halved twice.
# Six layers in float32, each of sums of up to a few hundred terms in another order.
ROUNDING = 200 * np.finfo(np.float32).eps

AVERAGED = {"symmetrization": "group"}
CANONICAL = {"symmetrization": "canonical", "score_width": 2}
MODELS = {
    "plain": {},
    "averaged over C4": AVERAGED,
    "averaged over D4": AVERAGED | {"symmetrization_group": "D4"},
    "canonical": CANONICAL,
    "C4": {"group": "C4"},
    "C8": {"group": "C8"},
    "D4": {"group": "D4"},
}


def make(**model) -> tuple[Classifier, DigitsModelConfig]:
    """A classifier with generic parameters, away from the zeros of its biases."""
    config = DigitsModelConfig(**{"width": 2} | model)
    network = nnx.eval_shape(lambda: Classifier(config, rngs=nnx.Rngs(0)))
    draws = np.random.default_rng(0)
    graph, state = nnx.split(network)
    weights = jax.tree.map(
        lambda leaf: jnp.asarray(draws.normal(size=leaf.shape), leaf.dtype), state
    )
    return nnx.merge(graph, weights), config


def drawn_images(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(count, SIDE, SIDE, 1)).astype(np.float32)


def moved(image: np.ndarray) -> np.ndarray:
    """The image, its three quarter turns, and its mirror image, without the library."""
    return np.stack([*(np.rot90(image, turn) for turn in range(4)), image[::-1]])


def distance(values, reference) -> float:
    return float(np.max(np.abs(values - reference)) / np.max(np.abs(reference)))


@pytest.mark.parametrize("name", MODELS)
def test_quarter_turns_are_ignored_and_mirrors_seen_as_promised(name):
    network, config = make(**MODELS[name])
    images = np.stack([moved(image) for image in drawn_images(3)])
    logits = np.asarray(jax.jit(jax.vmap(jax.vmap(evaluated(network, config))))(images))
    assert logits.shape == (3, 5, CLASSES) and logits.dtype == np.float32
    turned = distance(logits[:, 1:4], logits[:, :1])
    mirrored = distance(logits[:, 4], logits[:, 0])
    if name == "plain":
        assert turned > 0.01
    else:
        assert turned < ROUNDING
    # A network of D4 keeps mirror images apart, unlike an average over D4.
    if name == "averaged over D4":
        assert mirrored < ROUNDING
    else:
        assert mirrored > 0.01
    assert distance(logits[1], logits[0]) > 30 * ROUNDING, "it tells images apart"


def test_a_mirror_swaps_the_two_halves_of_the_features_of_d4():
    network, _ = make(group="D4")
    features = jax.jit(lambda images: network.pool(network.backbone(images)))
    images = drawn_images(2)
    expected = np.asarray(features(images))
    mirrored = np.asarray(features(images[:, ::-1]))
    assert distance(mirrored[:, ::-1], expected) < ROUNDING
    assert distance(mirrored, expected) > 0.01


def test_scores_move_with_the_image():
    network, _ = make(**CANONICAL)
    images = moved(drawn_images(1)[0])
    scores = np.asarray(jax.jit(jax.vmap(network.scores))(images))
    for turn in range(4):
        assert distance(scores[turn], np.roll(scores[0], turn)) < ROUNDING
    assert distance(scores[1], scores[0]) > 0.01


def test_a_sampled_average_draws_the_terms_of_the_full_one(shallow):
    network, config = make(**AVERAGED, training_average="sampled")
    image = drawn_images(1)[0]
    draws = jax.random.split(jax.random.key(0), 40)

    @jax.jit
    def every(turns):
        drawn = jax.vmap(trained(network, config), in_axes=(0, None))(draws, image)
        return drawn, jax.vmap(network)(turns), evaluated(network, config)(image)

    drawn, terms, full = map(np.asarray, every(moved(image)[:4]))
    apart = np.max(np.abs(drawn[:, None] - terms[None]), axis=-1)
    scale = np.max(np.abs(terms))
    assert np.all(apart.min(axis=1) < ROUNDING * scale)
    assert set(apart.argmin(axis=1)) == {0, 1, 2, 3}
    assert distance(terms.mean(axis=0), full) < ROUNDING
    assert distance(terms[0], full) > 0.01


def test_straight_through_has_the_value_of_the_best_pose_and_a_gradient(shallow):
    network, config = make(**CANONICAL)
    image, key = jnp.asarray(drawn_images(1)[0]), jax.random.key(0)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=CLASSES), jnp.float32)
    graph, state = nnx.split(network)
    soft = config.model_copy(update={"canonicalization": "soft"})
    models = {
        "hard": lambda network: evaluated(network, config)(image),
        "straight_through": lambda network: trained(network, config)(key, image),
        "soft": lambda network: trained(network, soft)(key, image),
    }

    def loss(state, model):
        logits = model(nnx.merge(graph, state))
        return jnp.sum(weights * logits), logits

    @jax.jit
    def of_all(state):
        return {
            name: jax.grad(functools.partial(loss, model=model), has_aux=True)(state)
            for name, model in models.items()
        }

    slopes, logits = ({name: pair[k] for name, pair in of_all(state).items()} for k in (0, 1))
    assert distance(logits["straight_through"], logits["hard"]) < ROUNDING
    assert distance(logits["soft"], logits["hard"]) > 1e-3
    size = {
        name: max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slope["scores"]))
        for name, slope in slopes.items()
    }
    assert size["hard"] == 0
    assert size["straight_through"] > 1e-3 and size["soft"] > 1e-3


def test_augmentation_turns_about_the_centre_by_any_angle():
    rows, columns = np.mgrid[:15, :15]
    x, y = columns - 7.0, 7.0 - rows
    blob = np.exp(-((x - 4) ** 2 + y**2) / 4)[..., None].astype(np.float32)
    draws = jax.random.split(jax.random.key(0), 64)
    turned = np.asarray(jax.jit(jax.vmap(augmented, in_axes=(0, None)))(draws, blob))[..., 0]
    mass = turned.sum((1, 2))
    middle = np.stack([(turned * x).sum((1, 2)), (turned * y).sum((1, 2))]) / mass
    # Interpolation blurs, and the tail of the blob is cut at the edge: a tenth of a pixel.
    np.testing.assert_allclose(np.hypot(*middle), 4, atol=0.1)
    angles = np.sort(np.arctan2(middle[1], middle[0]))
    gaps = np.diff([*angles, angles[0] + 2 * np.pi])
    # Of 64 uniform angles the largest gap is below 0.8 but for one draw in 300.
    assert gaps.max() < 0.8


def test_groups_and_their_elements_have_names():
    assert [group_named(name).order for name in ("C1", "C16", "D1", "D4")] == [1, 16, 2, 8]
    assert element_names("C1") == ["0°"]
    assert element_names("C16")[:3] == ["0°", "22.5°", "45°"]
    expected = [*(f"{angle}°" for angle in (0, 90, 180, 270))]
    expected += [f"mirror {angle}°" for angle in (0, 45, 90, 135)]
    assert element_names("D4") == expected
    # The line of a mirror stays where it is.
    mirror = sf.dihedral(4).elements.linear[5]
    np.testing.assert_allclose(mirror @ np.ones(2), np.ones(2), atol=1e-12)


def parameters(config) -> int:
    network = nnx.eval_shape(lambda: Classifier(config.model, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network)))


def test_the_models_that_are_compared_are_of_one_size():
    paths = sorted(CONFIGS.glob("digits_*.yaml"))
    sizes = {path.stem: parameters(load_config(path)) for path in paths}
    assert sizes.pop("digits_demo") < 15_000
    assert len(sizes) >= 8
    reference = sizes["digits_cnn"]
    assert all(abs(size / reference - 1) < 0.2 for size in sizes.values()), sizes
