"""Programs for accelerators: every function is lowered for them, rounds no factor, keeps dtypes."""

import functools

import jax
import jax.numpy as jnp
import pytest

import symjax_frames as sf
from tests.helpers.batches import calls, draw
from tests.helpers.programs import callbacks, is_exact, products, text_of

BACKBONES = ("averaged", "MLP", "PointGNN MessagePassing", "PointGNN of edges", "EGNN")
"""The calls whose products are those of a network, which computes as its user wants."""
PARTLY = {
    # Two maps of vectors; the others act within frames.
    "LayerwiseGNN": (2, 9),
    # Kernels that are moved; a convolution rounds the pixels of a turned image alike.
    "group_average of a GroupCNN": (3, 2),
}
"""The calls that have both, with the number of exact products and of others."""
WIDE = (
    *("pca_frame spectral_gap", "robust_frame", "frame_diagnostics", "close signs", "joint_cloud"),
    *("canonical_frame canonical_margin", "landmark_frame centre_of_mass", "local_frames"),
    *("local_diagnostics", "scored_frame", "prior_loss identity_rate"),
    "packed_frame packed_robust_frame",
)
"""The calls whose results are frames, or tell of them: of at least 32 bits."""
APART = ("generic_cloud", "equivariance_error")
"""The calls whose results have a dtype that is not that of their arguments."""


@pytest.fixture(scope="module")
def traced():
    """Every call, jitted and traced once for all tests, with its arguments."""
    with jax.default_matmul_precision("bfloat16"):
        yield {n: (jax.jit(call.function), call.args) for n, call in calls("float32").items()}


def test_products_around_a_backbone_are_exact_whatever_the_default(traced):
    for name, (function, args) in traced.items():
        found = [is_exact(product) for product in products(function.trace(*args).jaxpr)]
        if name in PARTLY:
            assert (found.count(True), found.count(False)) == PARTLY[name], name
        elif name in BACKBONES:
            assert found and not any(found), name
        else:
            assert all(found), name


def strays(results, dtype):
    """The calls with a floating result of another dtype than they should have."""
    found = {}
    for name, result in results.items():
        wide = jnp.float32 if name in WIDE and jnp.finfo(dtype).bits < 32 else dtype
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(result) if leaf.dtype.kind in "fV"}
        if name not in APART and dtypes != {jnp.dtype(wide)}:
            found[name] = dtypes
    return found


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_results_have_the_dtype_of_the_arguments_and_frames_32_bits(traced, dtype):
    if dtype == "float32":
        results = {
            name: function.trace(*args).out_info for name, (function, args) in traced.items()
        }
    else:
        results = {}
        for name, call in calls(dtype).items():
            # The normalisation of Flax relies on it.
            with jax.numpy_dtype_promotion("standard" if "NN" in name else "strict"):
                results[name] = jax.eval_shape(call.function, *call.args)
    assert strays(results, dtype) == {}
    # The check sees a demotion and a promotion.
    half = {"MLP": jnp.ones(3, jnp.float16), "lift": jnp.ones(3, jnp.complex64).real}
    assert set(strays(half, dtype)) == {"MLP"} | ({"lift"} if dtype != "float32" else set())


@pytest.mark.parametrize("kind", ["frame", "group", "sampled", "batch"])
def test_backbones_see_the_dtype_of_the_caller(kind):
    """And the elements that move what they see are not rounded to it."""
    seen = []

    def energy(x):
        seen.append(x.dtype)
        return jnp.sum(x)

    moved = sf.Action(
        lambda g, x: sf.vectors.push(g, x),
        lambda g, x: seen.append(g.linear.dtype) or sf.vectors.pull(g, x),
    )
    law = {"in_actions": moved, "out_actions": None}
    frame = functools.partial(sf.pca_frame, group="O")
    average = {
        "frame": lambda x: sf.frame_average(energy, frame, **law)(x[0]),
        "group": lambda x: sf.group_average(energy, sf.cyclic(3), **law)(x[0]),
        "sampled": lambda x: sf.sampled_average(energy, sf.orthogonal(2), **law)(
            jax.random.key(0), x[0]
        ),
        "batch": sf.batch_average(energy, frame, capacity=4, **law),
    }[kind]
    assert jax.eval_shape(average, draw(5, 2, dtype=jnp.bfloat16)).dtype == jnp.bfloat16
    assert set(seen[::2]) == {jnp.dtype(jnp.float32)}
    assert set(seen[1::2]) == {jnp.dtype(jnp.bfloat16)}


def test_every_public_function_is_lowered_for_every_platform_without_callbacks(traced):
    for name, (function, args) in traced.items():
        assert callbacks(text_of(function, *args)) == [], name


def debugged(x):
    jax.debug.callback(lambda x: None, x)
    return x


@pytest.mark.parametrize(
    "function", [debugged, lambda x: jax.pure_callback(lambda x: x, x, x)], ids=["debug", "pure"]
)
def test_callbacks_are_found_and_keep_a_program_from_other_platforms(function):
    assert callbacks(jax.jit(function).lower(jnp.ones(3)).as_text())
    with pytest.raises(Exception, match="(?i)platform|list"):
        text_of(jax.jit(function), jnp.ones(3))


@pytest.mark.parametrize("dim", [3, 5])
def test_backbones_keep_the_default_under_an_average(dim):
    """In five dimensions elements move points by products, and cells are solved by LAPACK."""
    points, weight = draw(7, dim)[0], jnp.ones((dim, 4))
    energy = lambda x: jnp.sum(jnp.tanh(x @ weight))
    law = {"in_actions": sf.points, "out_actions": None}
    averages = {
        "frame": sf.frame_average(energy, sf.pca_frame, **law),
        "group": sf.group_average(energy, sf.signs(dim), in_actions=sf.vectors, out_actions=None),
    }
    for name, average in averages.items():
        found = list(products(jax.make_jaxpr(jax.value_and_grad(average))(points)))
        own = [product for product in found if not is_exact(product)]
        # The product of the backbone with the weights, and its derivative.
        assert len(own) == 2, name
        assert all((dim, 4) in [v.aval.shape for v in product.invars] for product in own)
        assert (len(found) > len(own)) == (dim > 3)


def test_moves_and_frames_are_lowered_with_the_highest_precision():
    """In the words of the program that a compiler reads."""
    law = {"in_actions": sf.points, "out_actions": sf.points}
    average = sf.frame_average(lambda x: x @ jnp.ones((4, 4)), sf.pca_frame, **law)
    text = jax.jit(average).lower(draw(7, 4)[0]).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    exact = ["precision = [HIGHEST, HIGHEST]" in line for line in lines]
    assert exact.count(False) == 1 and exact.count(True) == 1
