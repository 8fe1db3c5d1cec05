import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf

C4, D4 = sf.cyclic(4), sf.dihedral(4)
FULL = D4.order
# D4 keeps the grid, so any order is exact, and this one compiles fastest.
IMAGES = sf.fields(order=0)


def draw(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def relative(pair):
    value, reference = map(np.asarray, pair)
    return np.max(np.abs(value - reference)) / np.max(np.abs(reference))


# A generic network: it sees where a pixel is, and its neighbour to one side only.
WEIGHTS = draw((8, 8, 1), seed=1)


def segment(image):
    return jnp.sin(3 * image * WEIGHTS + jnp.roll(image, 1, axis=0) * image)


def classify(image):
    # Squared sums of several features, so that scores do not depend on one sum alone.
    return jnp.stack([jnp.sum(segment(image)), jnp.sum(segment(image) ** 2)])


def padded(size, border, dtype=np.float64):
    return np.pad(np.abs(draw((size, size, 1), dtype)), [(border, border)] * 2 + [(0, 0)])


SHIFTS = jnp.asarray([[1, 0], [0, -1], [1, 1], [-1, 1]], float)


@pytest.mark.fast
@pytest.mark.parametrize("landmark", ["centre of mass", "brightest pixel"])
def test_networks_become_equivariant_to_shifts(landmark):
    def brightest(image):
        row, column = jnp.unravel_index(jnp.argmax(image), image.shape[:2])
        return jnp.stack([column, 7 - row]).astype(image.dtype) - 3.5

    image = jnp.asarray(padded(2, 3))
    chosen = None if landmark == "centre of mass" else brightest
    frame = lambda image: sf.landmark_frame(image, landmark=chosen)
    invariant = sf.frame_average(classify, frame, in_actions=sf.images, out_actions=None)
    equivariant = sf.frame_average(segment, frame, in_actions=sf.images, out_actions=sf.images)

    @jax.jit
    @jax.vmap
    def laws(shift):
        g = sf.Isometry(jnp.eye(2), shift)
        moved = sf.images.push(g, image)
        found = frame(image).elements, frame(moved).elements
        return {
            "frame": (found[1].shift - found[0].shift, shift[None]),
            "invariant": (invariant(moved), invariant(image)),
            "equivariant": (equivariant(moved), sf.images.push(g, equivariant(image))),
            "classify": (classify(moved), classify(image)),
            "segment": (segment(moved), sf.images.push(g, segment(image))),
        }

    pairs = laws(SHIFTS)
    # Positions of a few pixels and sums of a few dozen terms of order one, in another order.
    for law in ("frame", "invariant", "equivariant"):
        assert relative(pairs[law]) < 1e-13, law
    for control in ("classify", "segment"):
        assert relative(pairs[control]) > 0.1, control


def test_the_landmark_may_lie_between_pixels():
    location = sf.frames.centre_of_mass(jnp.asarray(padded(2, 3)))
    assert np.all(np.abs(location - np.round(location)) > 0.01)
    assert np.all(np.abs(location) < 0.5)


def test_the_centre_of_mass_moves_as_a_point():
    g = sf.Isometry(*(leaf[1] for leaf in C4.cast(jnp.float64)))._replace(
        shift=jnp.array([1.0, -1])
    )

    @jax.jit
    def sides(image):
        location = sf.frames.centre_of_mass(image)
        moved = sf.frames.centre_of_mass(sf.images.push(g, image))
        return moved, sf.points.push(g, location), sf.points.pull(g, location)

    moved, expected, backwards = sides(padded(4, 2))
    np.testing.assert_allclose(moved, expected, atol=1e-14)
    assert not np.allclose(moved, backwards)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_centre_of_mass_of_any_intensity(dtype):
    limits = jnp.finfo(dtype)
    one = np.zeros((3, 5, 2))
    one[0, 4, 1], one[2, 4, 0] = 1, -1
    both = jax.jit(jax.value_and_grad(lambda image: jnp.sum(sf.frames.centre_of_mass(image))))
    for scale in (float(limits.tiny), 1.0, float(limits.max)):
        value, gradient = both(jnp.asarray(one * scale, dtype))
        # At (2, 1) and (2, -1), with equal masses.
        assert value == 2
        # A change by the smallest intensity moves the centre by pixels: derivatives up to 1 / tiny.
        assert np.all(np.isfinite(gradient)), scale
    value, gradient = both(jnp.zeros((3, 5, 2), dtype))
    assert value == 0 and np.all(np.isfinite(gradient))


def test_gradients_pass_through_the_landmark():
    image = padded(2, 3) + 0.1
    invariant = sf.frame_average(
        lambda x: classify(x)[0], sf.landmark_frame, in_actions=sf.images, out_actions=None
    )
    slope, along, step = jax.jit(jax.value_and_grad(invariant)), draw(image.shape, seed=2), 1e-6
    difference = (slope(image + step * along)[0] - slope(image - step * along)[0]) / (2 * step)
    # The error of central differences: step^2 times a third derivative, and rounding over step.
    np.testing.assert_allclose(np.vdot(slope(image)[1], along), difference, atol=1e-7)
    fixed = sf.frame_average(
        lambda x: classify(x)[0],
        lambda x: jax.lax.stop_gradient(sf.landmark_frame(x)),
        in_actions=sf.images,
        out_actions=None,
    )
    assert abs(np.vdot(jax.jit(jax.grad(fixed))(image), along) - difference) > 1e-3


def scores_of(image):
    """Equivariant scores, `s(x)[h] = phi(h^-1 x)` with a generic `phi`."""
    phi = lambda x: jnp.sum(jnp.cos(x * jnp.flip(WEIGHTS, 0) + jnp.roll(x, 1, axis=1)))
    return jax.vmap(lambda h: phi(IMAGES.pull(h, image)))(D4.cast(image.dtype))


def generic_scores(image):
    return jnp.sum(jnp.cos(image[None] * draw((FULL, 8, 8, 1), seed=3)), axis=(1, 2, 3))


KINDS = {
    "hard": {},
    "hard with all": {"capacity": FULL},
    "soft": {"kind": "soft"},
    "straight through": {"kind": "straight_through"},
}


def errors_of(kind, images, scores=scores_of):
    """The errors of invariance and equivariance over D4 of an average, for each of the images."""
    average = sf.frame_average(
        lambda image: (classify(image), segment(image)),
        lambda image: sf.scored_frame(scores(image), D4, **KINDS[kind]),
        in_actions=IMAGES,
        out_actions=(None, IMAGES),
    )

    @jax.jit
    def sides(image):
        moved = jax.vmap(lambda g: IMAGES.push(g, image))(D4.cast(image.dtype))
        first = jax.vmap(average)(moved)
        # The identity is the first element.
        output = jax.tree.map(lambda leaf: leaf[0], first)
        last = jax.vmap(lambda g: (output[0], IMAGES.push(g, output[1])))(D4.cast(image.dtype))
        return list(zip(first, last, strict=True))

    return [[relative(pair) for pair in sides(image)] for image in images]


GENERIC = draw((8, 8, 1))
HALF_TURN = GENERIC + GENERIC[::-1, ::-1]
# Sums of 64 terms of order one in another order, in the scores and in the outputs.
ROUNDING = 1e-13


@pytest.mark.fast
@pytest.mark.parametrize("kind", KINDS)
def test_scored_frames_make_networks_equivariant(kind):
    generic, symmetric = errors_of(kind, [GENERIC, HALF_TURN])
    assert max(generic) < ROUNDING
    invariance, equivariance = symmetric
    # One element is enough for what is invariant, but not for an image of a symmetric image.
    assert invariance < ROUNDING
    assert equivariance > 0.1 if kind == "hard" else equivariance < ROUNDING


@pytest.mark.fast
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_scores_that_do_not_move_make_nothing_equivariant(kind):
    assert min(errors_of(kind, [GENERIC], generic_scores)[0]) > 0.01


def test_the_frame_moves_with_the_scores():
    """`F(g x) = g F(x)`: the canonical images of moved inputs are the same."""

    @jax.jit
    @jax.vmap
    def canonical(g):
        moved = IMAGES.push(g, GENERIC)
        best = lambda scores: jax.tree.map(
            lambda leaf: leaf[0], sf.scored_frame(scores(moved), D4).elements
        )
        return [IMAGES.pull(best(scores), moved) for scores in (scores_of, generic_scores)]

    equivariant, generic = canonical(D4.cast(jnp.float64))
    np.testing.assert_array_equal(equivariant, np.broadcast_to(equivariant[:1], equivariant.shape))
    assert not np.allclose(generic, generic[:1])


def test_ties_share_the_weight_to_within_rounding():
    eps = np.finfo(np.float32).eps
    scores = jnp.asarray([1 - 8 * eps, -3, 1, 1 - 1000 * eps], jnp.float32)
    options = [{}, {"capacity": 2}, {"capacity": 3}, {"capacity": 4}, {"kind": "straight_through"}]
    frames = jax.jit(lambda scores: [sf.scored_frame(scores, C4, **each) for each in options])
    one, two, three, four, through = frames(scores)
    np.testing.assert_array_equal(one.weights, [1])
    np.testing.assert_array_equal(two.weights, [0.5, 0.5])
    np.testing.assert_array_equal(four.weights, [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(through.weights, [0.5, 0, 0.5, 0])
    kept = np.asarray(C4.elements.linear)[[2, 0, 3]]
    np.testing.assert_array_equal(three.elements.linear, kept)
    for extreme in (np.zeros(4), np.full(4, 3e38), np.array([3e38, -3e38, 0, 0])):
        weights = frames(jnp.asarray(extreme, jnp.float32))[3].weights
        np.testing.assert_allclose(np.max(weights), 1 / np.sum(extreme == extreme.max()), rtol=1e-6)
    half = jax.eval_shape(frames, scores.astype(jnp.bfloat16))[4]
    assert half.weights.dtype == half.elements.linear.dtype == jnp.float32


def test_gradients_of_each_kind():
    scores, along, step = draw(FULL, seed=4), draw(FULL, seed=5), 1e-6

    def value(scores, kind):
        frame = lambda image: sf.scored_frame(scores, D4, **KINDS[kind])
        average = sf.frame_average(classify, frame, in_actions=IMAGES, out_actions=None)
        return average(GENERIC)[0]

    slopes = {
        kind: jax.jit(lambda x, kind=kind: jax.value_and_grad(value)(x, kind))
        for kind in ("hard", "soft", "straight through")
    }
    found = {kind: slope(scores) for kind, slope in slopes.items()}
    np.testing.assert_array_equal(found["hard"][1], 0)
    soft = slopes["soft"]
    difference = (soft(scores + step * along)[0] - soft(scores - step * along)[0]) / (2 * step)
    np.testing.assert_allclose(np.vdot(found["soft"][1], along), difference, atol=1e-8)
    assert abs(difference) > 1e-2
    np.testing.assert_allclose(found["straight through"][0], found["hard"][0], rtol=1e-14)
    np.testing.assert_allclose(found["straight through"][1], found["soft"][1], rtol=1e-12)
    assert abs(found["soft"][0] - found["hard"][0]) > 1e-2


def test_a_gradient_step_on_the_prior_loss_keeps_images_upright():
    scores = jnp.asarray(draw((6, 4)))
    expected = -np.log(np.exp(scores)[:, 0] / np.sum(np.exp(scores), axis=1))
    np.testing.assert_allclose(sf.frames.prior_loss(scores), expected, rtol=1e-13)
    upright = np.mean(np.argmax(np.asarray(scores), axis=1) == 0)
    assert float(sf.frames.identity_rate(scores)) == upright < 1
    assert (
        float(sf.frames.identity_rate(-scores))
        == np.mean(np.argmin(np.asarray(scores), axis=1) == 0)
        > 0
    )
    trained = scores - 50 * jax.grad(lambda x: jnp.mean(sf.frames.prior_loss(x)))(scores)
    assert sf.frames.identity_rate(trained) == 1
    best = jax.jit(jax.vmap(lambda one: sf.scored_frame(one, C4).elements.linear))
    identities = np.broadcast_to(np.eye(2), (6, 1, 2, 2))
    np.testing.assert_array_equal(best(trained), identities)
    assert np.any(best(scores) != identities)
    assert np.isfinite(sf.frames.prior_loss(jnp.asarray([-1e30, 1e30], jnp.float32)))


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: sf.landmark_frame(np.ones((2, 4, 4, 1))), "one floating image .*jax.vmap"),
        (lambda: sf.frames.centre_of_mass(np.ones((4, 4, 1), int)), "one floating image .*int64"),
        (
            lambda: sf.landmark_frame(np.ones((4, 4, 1)), landmark=lambda x: jnp.ones(3)),
            r"landmark must return .*two numbers.*\(3,\)",
        ),
        (
            lambda: sf.landmark_frame(np.ones((4, 4, 1)), landmark=np.zeros(2)),
            r"landmark must be a function .*\(2,\)",
        ),
        (lambda: sf.frames.prior_loss(np.ones((2, 4), int)), r"shape \(..., order\), got .*int64"),
        (lambda: sf.frames.identity_rate(np.ones(4)), r"shape \(batch, order\), got shape \(4,\)"),
        (lambda: scored(np.ones(5)), r"scores must be floating of shape \(4,\).*C4.*\(5,\)"),
        (lambda: scored(np.ones((2, 4))), r"\(2, 4\).*jax.vmap"),
        (lambda: scored(np.ones(4, int)), "scores must be floating .*int64"),
        (lambda: scored(np.ones(4), kind="best"), "hard, soft, straight_through, got 'best'"),
        (lambda: scored(np.ones(4), capacity=0), "capacity must be a positive integer, got 0"),
        (lambda: scored(np.ones(4), capacity=5), "capacity must be at most 4, .* C4, got 5"),
        (lambda: scored(np.ones(4), kind="soft", capacity=2), "'soft' keeps all"),
        (lambda: scored(np.ones(4), sf.orthogonal(2)), r"group must be finite .*O\(2\)"),
        (lambda: scored(np.ones(4), "C4"), "group must be a Group"),
    ],
)
def test_wrong_frames_are_explained(unhooked, call, message):
    # Traced only: what is wrong is seen without computing anything.
    with pytest.raises(ValueError, match=f"(?s){message}"):
        jax.eval_shape(call)


def scored(scores, group=C4, **options):
    return sf.scored_frame(jnp.asarray(scores), group, **options)
