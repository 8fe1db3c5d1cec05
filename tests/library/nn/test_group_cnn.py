"""Group networks as modules: transforms, dtypes, hard inputs, parameters and mistakes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from symjax_frames import nn
from tests.helpers.networks import relative

C4, D4, C8 = sf.cyclic(4), sf.dihedral(4), sf.cyclic(8)
EPSILON = float(np.finfo(np.float32).eps)


def build(seed=0, group=C4, **options):
    sizes = {"lifting_kernel_size": 3, "rngs": nnx.Rngs(seed), **options}
    return nn.GroupCNN(group, 1, [[2], [2]], **sizes)


def drawn(seed=0, dtype="float32", **options):
    """A network whose parameters are generic numbers, drawn without compiling anything."""
    leaves, tree = jax.tree.flatten(nnx.eval_shape(lambda: build(seed, **options)))
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=leaf.shape).astype(dtype) for leaf in leaves)
    return tree.unflatten([jnp.asarray(value) for value in values])


def images(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape).astype(dtype))


def loss(network, x):
    return jnp.sum(jnp.sin(network(x)))


gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))
forward = jax.jit(lambda network, x: network(x))


def test_jit_vmap_and_split_leave_the_network_as_it_is():
    network, x = drawn(), images(3, 8, 8, 1)
    usual = forward(network, x)
    graph, state = nnx.split(network)
    values = {
        "state under jit": jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x),
        "vmap of single images": jax.jit(jax.vmap(lambda x: network(x[None])[0]))(x),
    }
    for name, value in values.items():
        # The same sums of at most 72 products in another order, three deep.
        assert relative(value, usual) < 200 * EPSILON, name
    # What looks at the other images of a batch, as its mean does, is not the same for single ones.
    single, batch = x - x, x - jnp.mean(x, axis=0, keepdims=True)
    assert relative(forward(network, batch), forward(network, single)) > 1e-2


def test_parameters_are_the_only_leaves_and_one_trace_serves_all():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(network, x):
        return network(x)

    first, second = drawn(0, group=D4), drawn(1, group=D4)
    x = images(2, 8, 8, 1)
    assert relative(run(first, x), run(second, x)) > 1e-2
    graph, state = nnx.split(first)
    merged = nnx.merge(graph, state)
    np.testing.assert_array_equal(run(merged, x), run(first, x))
    with pytest.raises(AssertionError, match="traced > 1 times"):
        run(first, x[:, :4, :4])

    shapes = [leaf.shape for leaf in jax.tree.leaves(first)]
    # Two kernels of pixels; no bias beside the norms, which have a scale and a bias.
    assert sorted(shapes) == sorted([(9, 1, 2), (9, 8, 2, 2), *[(2,)] * 4])
    assert len(jax.tree.leaves(state)) == len(shapes)


@pytest.mark.parametrize("group,size,count", [(C4, 3, 9), (D4, 5, 25), (C8, 3, 6), (C8, 5, 15)])
def test_parameter_counts(group, size, count):
    def shapes(layer):
        return layer.kernel.shape, None if layer.bias is None else layer.bias.shape

    lifting = nnx.eval_shape(lambda: nn.LiftingConv(group, 2, 3, size, rngs=nnx.Rngs(0)))
    conv = nnx.eval_shape(lambda: nn.GroupConv(group, 2, 3, size, use_bias=False, rngs=nnx.Rngs(0)))
    assert shapes(lifting) == ((count, 2, 3), (3,))
    assert shapes(conv) == ((count, group.order, 2, 3), None)
    assert not jax.tree.leaves([nn.GroupPool(group), nn.SpacePool(2)])


def test_layers_start_with_twice_the_variance_of_their_input():
    """So that it stays the same behind a rectifier."""

    @jax.jit
    def variances(x):
        lifting = nn.LiftingConv(C4, 8, 16, padding="VALID", rngs=nnx.Rngs(0))
        conv = nn.GroupConv(C8, 2, 16, 5, padding="VALID", rngs=nnx.Rngs(1))
        maps = x.reshape(2, 8, 8, 8, 2)
        return jnp.var(lifting(x)), jnp.var(conv(maps))

    for variance in variances(images(4, 8, 8, 8)):
        assert 1.6 < variance < 2.4


@pytest.mark.parametrize("value", [0.0, 3.0, 1e30])
def test_constant_images_have_finite_gradients(value):
    network = drawn()
    # The norm divides by a deviation that is zero, or rounding.
    constant = jnp.full((2, 8, 8, 1), value, jnp.float32)
    output = forward(network, constant)
    assert np.all(np.isfinite(output))
    chex.assert_tree_all_finite(gradients(network, constant))
    # The deviation by moments: zero, or the difference of two infinities.
    deviation = lambda x: jnp.sqrt(jnp.mean(x**2) - jnp.mean(x) ** 2)
    naive = jax.jit(jax.grad(lambda x: jnp.sum((x - jnp.mean(x)) / deviation(x))))
    assert not np.all(np.isfinite(naive(constant)))


def test_no_images_give_no_features():
    shape = jax.ShapeDtypeStruct((0, 8, 8, 1), jnp.float32)
    assert jax.eval_shape(drawn(), shape).shape == (0, 4, 2)


def test_norm_gives_each_feature_zero_mean_and_unit_variance():
    norm = nn.RegularNorm(3)
    x = images(2, 4, 4, 8, 3)
    # A mean far above the deviation must not eat the digits of the variance.
    y = np.asarray(norm(x + 1e3), np.float64)
    assert np.max(np.abs(y.mean(axis=(1, 2, 3)))) < 1e-3
    np.testing.assert_allclose(y.std(axis=(1, 2, 3)), 1, atol=1e-3)
    # Elements keep their differences: their statistics are common.
    assert np.max(np.abs(y.mean(axis=(1, 2)))) > 0.1


def test_bfloat16_runs_through():
    half, x = drawn(dtype="bfloat16", param_dtype="bfloat16"), images(2, 8, 8, 1)
    output = forward(half, x.astype("bfloat16"))
    assert output.dtype == jnp.bfloat16
    full = jax.tree.map(lambda leaf: leaf.astype("float32"), half)
    exact = forward(full, x)
    # 8 bits, after two convolutions and norms.
    assert relative(output.astype("float32"), exact) < 10 * 2**-8
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(half))


def test_mistakes_in_sizes_are_named(unhooked):
    rngs, so2 = nnx.Rngs(0), sf.special_orthogonal(2)
    lifting = lambda *sizes, **options: nn.LiftingConv(*sizes, rngs=rngs, **options)
    conv = lambda *sizes, **options: nn.GroupConv(*sizes, rngs=rngs, **options)
    cases = [
        (lambda: lifting("C4", 1, 1), "group must be a Group"),
        (lambda: lifting(so2, 1, 1), "group must be a finite group of the plane"),
        (lambda: lifting(sf.icosahedral(), 1, 1), "group must be .* plane, .* got I; in space"),
        (lambda: conv(so2, 1, 1), "group must be finite"),
        (lambda: conv(sf.icosahedral(), 1, 1), "group must be .* plane, .* got I; in space"),
        (lambda: lifting(C4, 0, 1), "in_features must be a positive integer, got 0"),
        (lambda: conv(C4, 0, 1), "in_features must be a positive integer, got 0"),
        (lambda: conv(C4, 1, 1.5), "out_features must be a positive integer, got 1.5"),
        (lambda: lifting(C4, 1, 1, 0), "kernel_size must be a positive integer, got 0"),
        (lambda: conv(C4, 1, 1, stride=0), "stride must be a positive integer, got 0"),
        (lambda: lifting(C4, 1, 1, padding="FULL"), "padding must be .* got 'FULL'"),
        (lambda: lifting(C4, 1, 1, padding=-1), "padding must be .* got -1"),
        (lambda: lifting(C4, 1, 1, padding=True), "padding must be .* got True"),
        (lambda: conv(C4, 1, 1, 4), "padding='SAME' with kernel_size=4 .* use an odd kernel"),
        (lambda: lifting(C4, 1, 1, basis="waves"), "basis must be one of auto, .* got 'waves'"),
        (lambda: lifting(C8, 1, 1, basis="pixels"), "group must keep the pixels .* got C8"),
        (lambda: build(group=C8, basis="pixels"), "group must keep the pixels .* got C8"),
        (lambda: nn.GroupCNN(C4, 1, [], rngs=rngs), r"stages must be .* got \[\]"),
        (
            lambda: nn.GroupCNN(C4, 1, [[2], []], rngs=rngs),
            r"stages must be .* got \[\[2\], \[\]\]",
        ),
        (lambda: nn.GroupCNN(C4, 1, [2, 2], rngs=rngs), r"stages must be .* got \[2, 2\]"),
        (lambda: nn.GroupPool(C4, "sum"), "kind must be one of mean, max, got 'sum'"),
        (lambda: nn.GroupPool(so2), "group must be finite"),
        (lambda: nn.GroupPool(C4, over=D4), "over must be a subgroup of C4, got D4"),
        (lambda: nn.GroupPool(D4, over=sf.cyclic(3)), "over must be a subgroup of D4, got C3"),
        (lambda: nn.GroupPool(D4, over=sf.octahedral()), "over must be a subgroup of D4, got O"),
        (lambda: nn.GroupPool(D4, over=so2), r"over must be a subgroup of D4, got SO\(2\)"),
        (lambda: nn.SpacePool(0), "size must be a positive integer, got 0"),
        (lambda: nn.SpacePool(2, "min"), "kind must be one of mean, max, got 'min'"),
        (lambda: nn.RegularNorm(0), "features must be a positive integer, got 0"),
        (lambda: nn.RegularNorm(2, epsilon=0.0), "epsilon must be positive, got 0.0"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_mistakes_in_inputs_are_named(unhooked):
    lifting, strided, network = nnx.eval_shape(
        lambda: (
            nn.LiftingConv(C4, 2, 1, padding="VALID", rngs=nnx.Rngs(0)),
            nn.GroupConv(C4, 2, 1, stride=2, rngs=nnx.Rngs(0)),
            build(),
        )
    )
    cases = [
        (lifting, (8, 8, 2), r"input must have axes \(batch, height, width, in_features\)"),
        (lifting, (1, 8, 8, 3), r"ending in \(2,\) for this layer, got \(1, 8, 8, 3\)"),
        (strided, (1, 9, 9, 2), r"input must have axes \(batch, height, width, order, in_features"),
        (strided, (1, 9, 9, 8, 2), r"ending in \(4, 2\) for this layer, got \(1, 9, 9, 8, 2\)"),
        (lifting, (1, 8, 2, 2), "kernel_size=3 is larger than the padded width, 2"),
        (strided, (1, 9, 8, 4, 2), "stride=2 does not divide width .* = 7: .* breaks the symmetry"),
        (network, (1, 7, 7, 1), "size=2 must divide the height and width, got 7 and 7"),
        (nn.SpacePool(2), (8, 8, 2), r"input must have shape .* got \(8, 8, 2\)"),
        (nn.GroupPool(D4), (1, 4, 3), r"input must have shape \(..., 8, features\), got \(1, 4, 3"),
        (nn.GroupPool(D4), (8,), r"input must have shape \(..., 8, features\), got \(8,\)"),
        (nn.RegularNorm(2), (1, 8, 8, 2), r"input must have shape .* 2\), got \(1, 8, 8, 2\)"),
        (nn.RegularNorm(2), (1, 8, 8, 4, 3), r"input must have shape .* got \(1, 8, 8, 4, 3\)"),
    ]
    call = lambda layer, x: layer(x)
    for layer, shape, message in cases:
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(call, layer, jax.ShapeDtypeStruct(shape, jnp.float32))
    with pytest.raises(ValueError, match="dtype of the parameters, float32, got float64"):
        jax.eval_shape(call, lifting, jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float64))
