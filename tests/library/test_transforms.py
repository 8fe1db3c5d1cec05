import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import symjax_frames as sf
from symjax_frames.testing import equivariance_error
from tests.helpers.clouds import Motions, draw_cloud, draw_motions

MOVES = {"in_actions": (sf.points, sf.vectors, None), "out_actions": sf.points}
EXACT = 1000 * np.finfo(float).eps


def generic(dim, features=7):
    """A backbone that is neither odd nor even, nor anything else that hides a broken law."""
    rng = np.random.default_rng(7)
    first, second = rng.normal(size=(2, dim, features))
    last = rng.normal(size=(features, dim)) / features

    def backbone(x, v, charge):
        cast = lambda w: jnp.asarray(w, x.dtype)
        hidden = jnp.tanh(x @ cast(first) + 0.3) + jnp.sin(v @ cast(second) + 1)
        mixed = hidden + jnp.mean(hidden, axis=0, keepdims=True) ** 2
        return x + (mixed * charge[:, None]) @ cast(last)

    return backbone


def inputs(dim, dtype=float, count=6, seed=0):
    """A generic cloud with velocities and charges."""
    x = draw_cloud(seed, count, dim, gap=0.8 / max(dim - 1, 1) - 0.1)
    v, charge = np.random.default_rng(seed).normal(size=(2, count, dim))
    return tuple(jnp.asarray(leaf, dtype) for leaf in (x, v, charge[:, 0]))


GROUPS = ["T", "O", "SO", "E", "SE"]
# The groups that have more elements than a frame was made for, and so are not respected by it.
LARGER = {"T": "O", "SO": "O", "SE": "E"}


# The tests of outputs and forces are in space and in double precision.
SWEEP = [(1, "float64"), (2, "float64"), (4, "float64")]
SWEEP += [pytest.param(3, "float32", marks=pytest.mark.fast)]


@pytest.mark.parametrize("dim,dtype", SWEEP)
def test_frame_average_is_equivariant_to_its_group_and_no_larger_one(dim, dtype):
    x, v, charge = map(np.asarray, inputs(dim))
    motions = {name: draw_motions(name, dim, 4) for name in GROUPS}
    clouds, velocities = [], []
    for name, drawn in motions.items():
        centred = x - x.mean(axis=0) if name in ("O", "SO") else x
        clouds += [centred, *drawn.move(centred)]
        velocities += [v, *drawn.move(v, shifts=False)]
    batch = [np.stack(leaves).astype(dtype) for leaves in (clouds, velocities)]

    @jax.jit
    @jax.vmap
    def run(x, v):
        backbone, numbers = generic(dim), jnp.asarray(charge, dtype)
        frames = {name: functools.partial(sf.pca_frame, group=name) for name in GROUPS}
        averages = {name: sf.frame_average(backbone, frames[name], **MOVES) for name in GROUPS}
        return {name: fn(x, v, numbers) for name, fn in (averages | {"none": backbone}).items()}

    def violations(outputs):
        """How far the outputs are from moving with the input, by the group that moves it."""
        orbits = dict(zip(GROUPS, np.split(outputs, len(GROUPS)), strict=True))
        errors = {}
        for name, (here, *there) in orbits.items():
            expected = motions[name].move(here)
            sizes = np.max(np.abs(expected), axis=(1, 2))
            errors[name] = np.max(np.max(np.abs(there - expected), axis=(1, 2)) / sizes)
        return errors

    # The frame's conditioning is 1 / gap, and the backbone amplifies by a few.
    bound = 300 * np.finfo(dtype).eps
    errors = {name: violations(outputs) for name, outputs in jax.device_get(run(*batch)).items()}
    for name in GROUPS:
        assert errors[name][name] < bound, name
        if not (name == "SO" and dim == 1):
            assert errors["none"][name] > 1e-2, name
    for name, larger in LARGER.items():
        assert errors[name][larger] > 1e-3, name


def test_invariant_vector_pseudovector_and_tensor_outputs():
    x, v, _ = map(np.asarray, inputs(3))
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)))

    def backbone(x, v):
        h = jnp.sin(x @ weight + 0.5) + jnp.tanh(v + 0.2)
        return {
            "energy": jnp.sum(h),
            "moments": (jnp.sum(h, 0), jnp.sum(jnp.cross(h, v), 0) + h[0] ** 2),
            "stress": h.T @ jnp.exp(h),
        }

    actions = {"energy": None, "moments": (sf.vectors, sf.pseudovectors), "stress": sf.tensors(2)}
    law = {"in_actions": (sf.points, sf.vectors), "out_actions": actions}
    averaged = sf.frame_average(backbone, sf.pca_frame, **law)
    run = jax.jit(jax.vmap(lambda x, v: (averaged(x, v), backbone(x, v))))
    motions = draw_motions("E", 3, 16)
    linear, signs = motions.linear, np.linalg.det(motions.linear)[:, None]
    clouds = [x, *motions.move(x)], [v, *motions.move(v, shifts=False)]

    def errors(outputs):
        """By the kind of output, and those of the pseudovector as if it were a vector."""
        here, there = (
            jax.tree.map(lambda y, part=part: y[part], outputs) for part in (0, slice(1, None))
        )
        vector, pseudovector = (linear @ moment for moment in here["moments"])
        moved = [
            (there["energy"], np.full(16, here["energy"])),
            (there["moments"][0], vector),
            (there["moments"][1], signs * pseudovector),
            (there["stress"], linear @ here["stress"] @ linear.swapaxes(1, 2)),
            (there["moments"][1], pseudovector),
        ]
        return [np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in moved]

    of_average, alone = map(errors, jax.device_get(run(*map(np.stack, clouds))))
    *right, as_vector = of_average
    assert max(right) < EXACT
    assert as_vector > 1e-2
    assert min(alone) > 1e-2


def test_average_of_an_equivariant_function_is_that_function():
    def equivariant(x, v, charge):
        arms = x - jnp.mean(x, axis=0, keepdims=True)
        return x + v * jnp.sum(arms**2) + charge[:, None] * arms

    average = lambda fn: sf.frame_average(fn, sf.pca_frame, **MOVES)
    backbone = generic(2)

    @jax.jit
    def run(*args):
        once = average(backbone)
        fns = (equivariant, average(equivariant)), (once, average(once)), (backbone, once)
        return [(first(*args), second(*args)) for first, second in fns]

    equal, twice, changed = run(*inputs(2))
    np.testing.assert_allclose(*equal, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(*twice, rtol=1e-11, atol=1e-11)
    assert not np.allclose(*changed, atol=1e-2)


def test_batches_of_elements_change_nothing():
    args, backbone = inputs(2), generic(2)
    sizes = (None, 1, 3, 4, 100)
    average = lambda size: sf.frame_average(backbone, sf.pca_frame, batch_size=size, **MOVES)
    whole, *parts = jax.jit(lambda *args: [average(size)(*args) for size in sizes])(*args)
    for part in parts:
        np.testing.assert_allclose(part, whole, atol=1e-14)
    # The option is not ignored: three elements are evaluated at a time, and not all four.
    sizes_of = lambda size: primitive_sizes(jax.make_jaxpr(average(size))(*args).jaxpr)["tanh"]
    assert 3 * 6 * 7 in sizes_of(3) and 4 * 6 * 7 not in sizes_of(3)
    assert sizes_of(None) == [4 * 6 * 7]


def test_what_a_function_constrains_is_split_over_the_axis_of_the_elements():
    mesh = jax.make_mesh((2,), ("frame",), axis_types=(jax.sharding.AxisType.Auto,))
    args, backbone = inputs(2), generic(2)
    here = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def constrained(x, v, charge):
        return backbone(jax.lax.with_sharding_constraint(x, here), v, charge)

    def lowered(name):
        average = sf.frame_average(constrained, sf.pca_frame, spmd_axis_name=name, **MOVES)
        with jax.set_mesh(mesh):
            return jax.jit(average).lower(*args).as_text()

    split = '{"frame"}, {}, {}'
    assert split in lowered("frame")
    assert split not in lowered(None)


@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.fast)])
def test_group_average_is_exact_for_its_group_only(dim):
    groups, other, least = {
        2: ([sf.cyclic(3), sf.dihedral(3), sf.cyclic(4), sf.dihedral(4)], sf.cyclic(5), 1e-4),
        3: ([sf.icosahedral(inversion=True)], sf.octahedral(), 1e-6),
    }[dim]
    backbone = generic(dim)
    law = {"in_actions": (sf.vectors, sf.vectors, None), "out_actions": sf.vectors}
    size = 2 if dim == 2 else None
    fns = {g.name: sf.group_average(backbone, g, batch_size=size, **law) for g in groups}
    # The cloud, and its images under all elements of all groups.
    linears = [np.asarray(group.elements.linear) for group in (*groups, other)]
    motions = Motions(np.concatenate(linears), np.zeros((sum(map(len, linears)), dim)))
    x, v, charge = map(np.asarray, inputs(dim))
    run = jax.jit(
        jax.vmap(lambda *args: {n: fn(*args, charge) for n, fn in (fns | {"": backbone}).items()})
    )
    outputs = jax.device_get(run(*(np.stack([leaf, *motions.move(leaf)]) for leaf in (x, v))))

    def violations(here, *there):
        expected = motions.move(here)
        errors = np.max(np.abs(there - expected), axis=(1, 2)) / np.max(np.abs(here))
        return [np.max(part) for part in np.split(errors, np.cumsum([*map(len, linears)])[:-1])]

    *alone, _ = violations(*outputs[""])
    assert min(alone) > 1e-2
    for place, group in enumerate(groups):
        errors = violations(*outputs[group.name])
        assert errors[place] < EXACT, group
        assert errors[-1] > least, group


def test_what_a_function_has_already_is_not_averaged_again(keys):
    """The subgroup is not normal, so that left cosets differ from right ones."""
    args = inputs(2)
    group, subgroup = sf.dihedral(4), sf.dihedral(1)
    backbone = generic(2)
    half = sf.group_average(backbone, subgroup, **MOVES)
    full = sf.group_average(half, group, **MOVES)
    short = sf.group_average(half, group, already=subgroup, **MOVES)
    wrong = sf.group_average(backbone, group, already=subgroup, **MOVES)
    law = {"group": group, "key": next(keys), **MOVES}

    @jax.jit
    def run(*args):
        errors = [equivariance_error(fn, *args, **law) for fn in (short, wrong)]
        return short(*args), full(*args), errors

    value, expected, (right, without) = run(*args)
    np.testing.assert_allclose(value, expected, atol=1e-14)
    assert right < EXACT
    assert without > 1e-2
    assert 8 in leading_axes(full, *args)
    assert 8 not in leading_axes(short, *args)


def leading_axes(fn, *args):
    """The lengths of the first axes of everything that a function computes."""
    equations = jax.make_jaxpr(fn)(*args).eqns
    return {var.aval.shape[0] for each in equations for var in each.outvars if var.aval.shape}


def test_what_does_not_move_is_computed_once():
    x, v, charge = inputs(3)
    weight = jnp.ones((6, 6), jnp.float64)

    def backbone(x, v, charge):
        expensive = jnp.tanh(weight @ charge)  # does not depend on the frame
        return x * expensive[:, None] + jnp.expm1(v)

    averaged = sf.frame_average(backbone, sf.pca_frame, **MOVES)
    sizes = primitive_sizes(jax.make_jaxpr(averaged)(x, v, charge).jaxpr)
    assert sizes["tanh"] == [6]
    assert sizes["expm1"] == [8 * 6 * 3]
    # The control: what is made to depend on the frame is computed for every element.
    moving = lambda x, v, charge: backbone(x, v, charge + x[:, 0])
    replicated = sf.frame_average(moving, sf.pca_frame, **MOVES)
    sizes = primitive_sizes(jax.make_jaxpr(replicated)(x, v, charge).jaxpr)
    assert sizes["tanh"] == [8 * 6]


def is_jaxpr(value):
    return isinstance(value, ClosedJaxpr | Jaxpr)


def primitive_sizes(jaxpr):
    """The size of the first result of every equation, by primitive, those inside included."""
    found: dict[str, list] = {}

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            found.setdefault(equation.primitive.name, []).append(equation.outvars[0].aval.size)
            for inner in jax.tree.leaves(equation.params, is_leaf=is_jaxpr):
                if is_jaxpr(inner):
                    walk(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)

    walk(jaxpr)
    return found


def test_keyword_arguments_and_untouched_arguments_pass_through():
    x, _, _ = inputs(2)
    seen = []

    def backbone(x, label, *, scale, name):
        seen.append((label, name))
        return {"out": x * scale, "count": jnp.float64(3)}

    averaged = sf.frame_average(
        backbone,
        sf.pca_frame,
        in_actions=(sf.points, None),
        out_actions={"out": sf.vectors, "count": None},
    )
    out = jax.jit(lambda x: averaged(x, "label", scale=2.0, name="kept"))(x)
    assert seen == [("label", "kept")]
    assert out["count"] == 3


def test_frame_of_several_arguments():
    x = np.asarray(inputs(2)[0])
    mask = np.arange(6) < 5
    backbone = lambda x, mask: jnp.sum(jnp.where(mask[:, None], jnp.sin(x + 1), 0))
    averaged = jax.jit(
        sf.frame_average(
            backbone,
            sf.pca_frame,
            in_actions=(sf.points, None),
            out_actions=None,
            frame_argnums=(0, 1),
        )
    )
    row = lambda index: (np.arange(6) == index)[:, None]
    assert averaged(x, mask) == averaged(np.where(row(5), 1e6, x), mask)
    assert averaged(x, mask) != averaged(np.where(row(4), x + 1, x), mask)


def test_forces_are_conservative_and_equivariant():
    x = np.asarray(inputs(3)[0])
    rng = np.random.default_rng(2)
    weight, along = jnp.asarray(1.5 * rng.normal(size=(3, 4))), rng.normal(size=x.shape)
    alone = lambda x: jnp.sum(jnp.sin(x @ weight + 0.4) + (x @ weight) ** 3 / 9)
    average = lambda frame: sf.frame_average(alone, frame, in_actions=sf.points, out_actions=None)
    energies = {
        "averaged": average(sf.pca_frame),
        "detached": average(functools.partial(sf.pca_frame, detach=True)),
        "alone": alone,
    }

    @jax.jit
    @jax.vmap
    def run(x):
        found = {name: jax.value_and_grad(energy)(x) for name, energy in energies.items()}
        # The second derivative exists, as training on forces needs.
        curvature = jax.jvp(jax.grad(energies["averaged"]), (x,), (jnp.asarray(along),))[1]
        return found, curvature

    # The cloud, its images under motions, and a step to both sides of it.
    motions, step = draw_motions("E", 3, 8), 1e-5
    clouds = np.stack([x, *motions.move(x), x + step * along, x - step * along])
    found, curvature = jax.device_get(run(clouds))

    def violation(name):
        here, *there = found[name][1][:9]
        expected = motions.move(here, shifts=False)
        return np.max(np.abs(there - expected)) / np.max(np.abs(expected))

    def torque(name):
        arms = x - x.mean(axis=0)
        return np.max(np.abs(np.sum(np.cross(arms, found[name][1][0]), axis=0)))

    energy, slope = found["averaged"]
    assert violation("averaged") < 1e-11
    assert torque("averaged") < 1e-12
    assert np.max(np.abs(np.sum(slope[0], axis=0))) < 1e-12
    np.testing.assert_allclose(
        np.sum(slope[0] * along), (energy[-2] - energy[-1]) / (2 * step), rtol=1e-7
    )
    np.testing.assert_allclose(
        curvature[0], (slope[-2] - slope[-1]) / (2 * step), rtol=1e-5, atol=1e-6
    )
    # A detached frame gives equivariant forces that are no gradient and exert a torque.
    assert violation("detached") < 1e-11
    assert torque("detached") > 1e-2
    assert violation("alone") > 1e-2
    assert torque("alone") > 1e-2


def test_one_trace_a_shape():
    chex.clear_trace_counter()

    @chex.assert_max_traces(n=1)
    def backbone(x, v, charge):
        return x

    averaged = jax.jit(sf.frame_average(backbone, sf.pca_frame, **MOVES))
    for seed in range(3):
        averaged(*inputs(2, seed=seed))
    with pytest.raises(AssertionError, match="traced > 1 times"):
        averaged(*inputs(2, count=7))


def test_batches_of_clouds_by_vmap():
    averaged = sf.frame_average(generic(2), sf.pca_frame, **MOVES)
    batch = jax.tree.map(lambda *rows: np.stack(rows), *[inputs(2, seed=seed) for seed in range(5)])
    together = jax.jit(jax.vmap(averaged))(*batch)
    alone = jax.jit(averaged)(*jax.tree.map(lambda leaf: leaf[-1], batch))
    np.testing.assert_allclose(together[-1], alone, atol=1e-13)
