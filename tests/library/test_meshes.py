"""A batch split over a mesh: every public function takes it, and splits its results alike."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import symjax_frames as sf
from tests.docs.reference import public_names
from tests.helpers.batches import BATCH, C4, MOVES, UNCALLED, calls

SPLIT = PartitionSpec("data")
MODULES = (
    "symjax_frames",
    *(f"symjax_frames.{name}" for name in ("actions", "correlation", "frames", "groups", "linalg")),
    *(f"symjax_frames.{name}" for name in ("nn", "testing", "transforms")),
)
RUN = (
    *("scored_frame", "packed packed_pca_frame", "fields regular cyclic"),
    "group_average of a GroupCNN",
)
"""The calls whose values are compared: one of each way in which arrays are split."""


def mesh_of(kind=AxisType.Explicit, shape=(2, 2), names=("data", "frame")):
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def split(tree, mesh, spec=SPLIT):
    return jax.device_put(tree, NamedSharding(mesh, spec))


def failures(functions, args):
    """What is wrong with the functions of a split batch, by name: an error, or the result whole."""
    found = {}
    for name, function in functions.items():
        try:
            results = jax.jit(function).trace(*args[name]).out_info
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        specs = [getattr(leaf.sharding, "spec", [None]) for leaf in jax.tree.leaves(results)]
        if any(spec[0] != "data" for spec in specs):
            found[name] = f"{specs}"
    return found


@pytest.fixture(scope="module")
def table():
    return calls()


def test_every_public_function_is_called(table):
    names = {name for module in MODULES for name in public_names(module)}
    called = {name for key in table for name in key.split()} & names
    uncalled = {name for names in UNCALLED.values() for name in names}
    assert called | uncalled == names
    assert not called & uncalled


def test_types_follow_a_batch_that_is_split_over_explicit_axes(table):
    mesh = mesh_of()
    functions = {name: call.function for name, call in table.items()}
    args = {name: split(call.args, mesh) for name, call in table.items()}
    assert failures(functions, args) == {}
    with jax.set_mesh(mesh):
        assert failures(functions, args) == {}
    # The check sees both a function without a type, and one that gathers.
    broken = {"MLP": lambda x: x[x[:, 0, 0].argsort()], "lift": lambda x: jnp.zeros(x.shape)}
    assert set(failures(broken, args)) == {"MLP", "lift"}


def compiled(function, *args):
    """The compiled program, and how many of each collective operation are in it."""
    program = jax.jit(function).lower(*args).compile()
    kinds = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
    text = program.as_text()
    return program, {kind: len(re.findall(rf" {kind}(-start)?\(", text)) for kind in kinds}


def test_values_are_those_of_every_device_on_its_own(table):
    mesh = mesh_of()
    args = {name: split(table[name].args, mesh) for name in RUN}

    def run(args):
        return {name: table[name].function(*args[name]) for name in RUN}

    alone = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT))(args)
    program, collectives = compiled(run, args)
    assert set(collectives.values()) == {0}
    together = program(args)
    # Not within jit either.
    function, scores = table["scored_frame"].function, args["scored_frame"]
    alone["eager"], together["eager"] = alone["scored_frame"], function(*scores)
    for name in together:
        for one, other in zip(*map(jax.tree.leaves, (alone[name], together[name])), strict=True):
            assert other.sharding.is_equivalent_to(one.sharding, one.ndim)
            scale = 100 * jnp.finfo(one.dtype).eps if jnp.issubdtype(one.dtype, float) else 0
            np.testing.assert_allclose(other, one, atol=scale, rtol=scale, err_msg=name)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_every_device_convolves_its_own_images(table, kind):
    function, (images,) = table["group_average of a GroupCNN"]
    program, collectives = compiled(function, split(images, mesh_of(kind)))
    assert set(collectives.values()) == {0}
    # Two devices have half of the images each, of which there are copies for two elements.
    shapes = re.findall(r"= f32\[(\d+),[\d,]+\]\S* convolution\(", program.as_text())
    assert set(shapes) == {str(BATCH // 2 * 2)}


def test_where_elements_come_before_images_every_device_convolves_all():
    """What JAX does with a convolution of its own, and why the library has another."""
    layout, images = ("NHWC", "HWIO", "NHWC"), jnp.ones((BATCH, 4, 4, 1))
    convolve = lambda x: jax.lax.conv_general_dilated(
        x, jnp.ones((3, 3, 1, 1)), (1, 1), "SAME", dimension_numbers=layout
    )
    average = sf.group_average(convolve, C4, in_actions=sf.images, out_actions=sf.images)
    program, collectives = compiled(average, split(images, mesh_of(AxisType.Auto)))
    assert collectives["all-gather"] > 0
    assert f"[{4 * BATCH},4,4,1]" in program.as_text()


def energy(points):
    return jnp.sum(jnp.tanh(points @ jnp.ones((2, 7)) + jnp.arange(7.0)[None]))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_every_device_evaluates_its_share_of_the_elements(kind):
    mesh, clouds = mesh_of(kind), np.random.default_rng(0).normal(size=(2, 5, 2))

    def averages(name):
        """An average of 4 elements, and one of 3, of which a device has 2 as well."""
        four = sf.frame_average(energy, sf.pca_frame, spmd_axis_name=name, **MOVES)
        three = sf.group_average(energy, sf.cyclic(3), spmd_axis_name=name, **MOVES)
        batch = "data" if kind == AxisType.Auto else None
        return jax.vmap(lambda x: (four(x), three(x)), spmd_axis_name=batch)

    with jax.set_mesh(mesh):
        program, collectives = compiled(averages("frame"), split(clouds, mesh))
        results = program(split(clouds, mesh))
    assert collectives == dict.fromkeys(collectives, 0) | {"all-reduce": 1}
    rows = re.findall(r"= f64\[(\d+),7\]\S* dot\(", program.as_text())
    assert set(rows) == {str(2 * 5)}
    np.testing.assert_allclose(results, jax.jit(averages(None))(clouds), rtol=1e-13)


def test_an_axis_that_elements_cannot_be_split_over_is_refused(unhooked):
    mesh, clouds = mesh_of(AxisType.Auto), np.zeros((2, 5, 2))
    with pytest.raises(ValueError, match="spmd_axis_name must be the name of an axis, got 3"):
        sf.frame_average(energy, sf.pca_frame, spmd_axis_name=3, **MOVES)
    average = jax.vmap(sf.frame_average(energy, sf.pca_frame, spmd_axis_name="frame", **MOVES))
    other = jax.vmap(sf.frame_average(energy, sf.pca_frame, spmd_axis_name="rows", **MOVES))
    inside = jax.shard_map(average, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT)
    with pytest.raises(ValueError, match="call the average within `with jax.set_mesh"):
        jax.eval_shape(average, clouds)
    with jax.set_mesh(mesh):
        with pytest.raises(
            ValueError, match="'rows' must be an axis of the mesh, .* 'data', 'frame'"
        ):
            jax.eval_shape(other, clouds)
        with pytest.raises(ValueError, match="axis of the jax.shard_map around the average"):
            jax.eval_shape(inside, clouds)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_every_device_chooses_among_the_pairs_of_its_own_examples(kind):
    mesh, clouds = mesh_of(kind), np.random.default_rng(0).normal(size=(4, 5, 2))

    def averages(name=None):
        frame = functools.partial(sf.robust_frame, max_elements=4)
        return sf.batch_average(energy, frame, capacity=4, spmd_axis_name=name, **MOVES)

    with jax.set_mesh(mesh):
        name = "data" if kind == AxisType.Auto else None
        program, collectives = compiled(averages(name), split(clouds, mesh))
        results = program(split(clouds, mesh))
    # Whether there is another round.
    assert collectives == dict.fromkeys(collectives, 0) | {"all-reduce": 1}
    rows = re.findall(r"= f64\[(\d+),7\]\S* dot\(", program.as_text())
    assert set(rows) == {str(4 // 2 * 5)}
    assert results.sharding.spec == SPLIT
    np.testing.assert_allclose(results, jax.jit(averages())(clouds), rtol=1e-13)
    # Where nothing tells how a batch is split, the pairs of all are collected.
    if kind == AxisType.Auto:
        _, collectives = compiled(averages(), split(clouds, mesh))
        assert collectives["all-gather"] > 0
    with pytest.raises(ValueError, match="multiple of so many examples"), jax.set_mesh(mesh):
        jax.jit(averages("data"))(clouds[:3])
