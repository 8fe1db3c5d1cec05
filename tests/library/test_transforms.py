import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import symjax_frames as sf
from symjax_frames.testing import assert_equivariant, equivariance_error, generic_cloud

MOVES = {"in_actions": (sf.points, sf.vectors, None), "out_actions": sf.points}


def generic(key, dim, features=7):
    """A backbone that is neither odd nor even, nor anything else that hides a broken law."""
    keys = jax.random.split(key, 3)
    weights = [jax.random.normal(k, (dim, features), jnp.float64) for k in keys[:2]]
    back = jax.random.normal(keys[2], (features, dim), jnp.float64) / features

    def backbone(x, v, charge):
        cast = lambda w: w.astype(x.dtype)
        hidden = jnp.tanh(x @ cast(weights[0]) + 0.3) + jnp.sin(v @ cast(weights[1]) + 1)
        mixed = hidden + jnp.mean(hidden, axis=0, keepdims=True) ** 2
        return x + (mixed * charge[:, None]) @ cast(back)

    return backbone


def inputs(keys, dim, dtype=jnp.float64, count=6):
    x = generic_cloud(next(keys), count, dim, gap=0.8 / max(dim - 1, 1) - 0.1, dtype=dtype)
    v, charge = jax.random.normal(next(keys), (2, count, dim), dtype)
    return x, v, charge[:, 0]


GROUPS = {
    "T": sf.translation,
    "O": sf.orthogonal,
    "SO": sf.special_orthogonal,
    "E": sf.euclidean,
    "SE": sf.special_euclidean,
}


SWEEP = [(1, "float64"), (2, "float64"), (3, "float64"), (4, "float64"), (3, "float32")]


@pytest.mark.parametrize("dim,dtype", SWEEP)
def test_frame_average_is_equivariant(keys, dim, dtype):
    backbone = generic(next(keys), dim)
    x, v, charge = inputs(keys, dim, dtype)

    @jax.jit
    def errors(x, v, charge, key):
        found = {}
        for name, group in GROUPS.items():
            centre = jnp.mean(x, axis=0, keepdims=True) if name in ("O", "SO") else 0
            frame = functools.partial(sf.pca_frame, group=name)
            averaged = sf.frame_average(backbone, frame, **MOVES)
            found[name] = [
                equivariance_error(fn, x - centre, v, charge, group=group(dim), key=key, **MOVES)
                for fn in (averaged, backbone)
            ]
        return found

    for name, (symmetric, bare) in errors(x, v, charge, next(keys)).items():
        # The frame's conditioning is 1 / gap, and the backbone amplifies by a few.
        assert float(symmetric) < 300 * float(jnp.finfo(dtype).eps), name
        if not (name == "SO" and dim == 1):
            assert bare > 1e-2, name


@pytest.mark.parametrize("dim", [1, 3])
def test_reflections_are_respected_only_where_promised(keys, dim):
    backbone = generic(next(keys), dim)
    args = inputs(keys, dim)
    law = {"group": sf.euclidean(dim), "num_samples": 16, "key": next(keys), **MOVES}
    proper = sf.frame_average(backbone, functools.partial(sf.pca_frame, group="SE"), **MOVES)
    assert jax.jit(lambda args: equivariance_error(proper, *args, **law))(args) > 1e-2
    assert_equivariant(jax.jit(sf.frame_average(backbone, sf.pca_frame, **MOVES)), *args, **law)


def test_invariant_vector_pseudovector_and_tensor_outputs(keys):
    x, v, charge = inputs(keys, 3)
    weight = jax.random.normal(next(keys), (3, 3), jnp.float64)

    def backbone(x, v):
        h = jnp.sin(x @ weight + 0.5) + jnp.tanh(v + 0.2)
        return {
            "energy": jnp.sum(h),
            "moments": (jnp.sum(h, 0), jnp.sum(jnp.cross(h, v), 0) + h[0] ** 2),
            "stress": h.T @ jnp.exp(h),
        }

    actions = {"energy": None, "moments": (sf.vectors, sf.pseudovectors), "stress": sf.tensors(2)}
    law = {"in_actions": (sf.points, sf.vectors), "out_actions": actions}
    averaged = jax.jit(sf.frame_average(backbone, sf.pca_frame, **law))
    law |= {"group": sf.euclidean(3), "key": next(keys), "num_samples": 16}
    assert_equivariant(averaged, x, v, **law)
    assert equivariance_error(backbone, x, v, **law) > 1e-2
    wrong = {**law, "out_actions": {**actions, "moments": (sf.vectors, sf.vectors)}}
    assert equivariance_error(averaged, x, v, **wrong) > 1e-2


def test_average_of_an_equivariant_function_is_that_function(keys):
    args = inputs(keys, 3)

    def equivariant(x, v, charge):
        arms = x - jnp.mean(x, axis=0, keepdims=True)
        return x + v * jnp.sum(arms**2) + charge[:, None] * arms

    averaged = jax.jit(sf.frame_average(equivariant, sf.pca_frame, **MOVES))
    np.testing.assert_allclose(averaged(*args), equivariant(*args), rtol=1e-12, atol=1e-12)
    backbone = generic(next(keys), 3)
    once = sf.frame_average(backbone, sf.pca_frame, **MOVES)
    moved = jax.jit(once)(*args)
    assert not np.allclose(moved, backbone(*args), atol=1e-2)
    twice = sf.frame_average(once, sf.pca_frame, **MOVES)
    np.testing.assert_allclose(jax.jit(twice)(*args), moved, rtol=1e-11, atol=1e-11)


def test_batches_of_elements_change_nothing(keys):
    args = inputs(keys, 3)
    backbone = generic(next(keys), 3)
    sizes = (None, 1, 3, 8, 100)
    average = lambda size: sf.frame_average(backbone, sf.pca_frame, batch_size=size, **MOVES)
    whole, *parts = jax.jit(lambda *args: [average(size)(*args) for size in sizes])(*args)
    for part in parts:
        np.testing.assert_allclose(part, whole, atol=1e-14)
    # The option is not ignored: three elements are evaluated at a time, and not all eight.
    sizes_of = lambda size: primitive_sizes(jax.make_jaxpr(average(size))(*args).jaxpr)["tanh"]
    assert 3 * 6 * 7 in sizes_of(3) and 8 * 6 * 7 not in sizes_of(3)
    assert sizes_of(None) == [8 * 6 * 7]


def test_elements_shard_over_a_mesh_axis(keys):
    mesh = jax.make_mesh((2,), ("frame",), axis_types=(jax.sharding.AxisType.Auto,))
    args = inputs(keys, 3)
    backbone = generic(next(keys), 3)
    here = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def constrained(x, v, charge):
        return backbone(jax.lax.with_sharding_constraint(x, here), v, charge)

    def lowered(name):
        average = sf.frame_average(constrained, sf.pca_frame, spmd_axis_name=name, **MOVES)
        return jax.jit(average).lower(*args)

    split = '{"frame"}, {}, {}'
    assert split in lowered("frame").as_text()
    assert split not in lowered(None).as_text()
    whole = jax.jit(sf.frame_average(backbone, sf.pca_frame, **MOVES))(*args)
    np.testing.assert_allclose(lowered("frame").compile()(*args), whole, atol=1e-13)


def test_group_average_is_exact_for_its_group_only(keys):
    backbone = generic(next(keys), 3)
    args = inputs(keys, 3)
    moves = {"in_actions": (sf.vectors, sf.vectors, None), "out_actions": sf.vectors}
    group = sf.icosahedral(inversion=True)
    averaged = jax.jit(sf.group_average(backbone, group, **moves))
    law = {"key": next(keys), **moves}
    assert_equivariant(averaged, *args, group=group, **law)
    assert equivariance_error(backbone, *args, group=group, **law) > 1e-2
    assert equivariance_error(averaged, *args, group=sf.octahedral(), **law) > 1e-6


@pytest.mark.parametrize("order", [3, 4])
def test_planar_group_averages(keys, order):
    backbone = generic(next(keys), 2)
    args = inputs(keys, 2)
    moves = {"in_actions": (sf.vectors, sf.vectors, None), "out_actions": sf.vectors}
    for group in (sf.cyclic(order), sf.dihedral(order)):
        averaged = jax.jit(sf.group_average(backbone, group, batch_size=2, **moves))
        law = {"group": group, "key": next(keys), **moves}
        assert_equivariant(averaged, *args, **law)
        assert equivariance_error(backbone, *args, **law) > 1e-2
        assert equivariance_error(averaged, *args, **law | {"group": sf.cyclic(5)}) > 1e-4


def test_what_a_function_has_already_is_not_averaged_again(keys):
    """The subgroup is not normal, so that left cosets differ from right ones."""
    x, v, charge = inputs(keys, 2)
    group, subgroup = sf.dihedral(4), sf.dihedral(1)
    backbone = generic(next(keys), 2)
    half = sf.group_average(backbone, subgroup, **MOVES)
    full = sf.group_average(half, group, **MOVES)
    short = sf.group_average(half, group, already=subgroup, **MOVES)
    wrong = sf.group_average(backbone, group, already=subgroup, **MOVES)
    law = {"group": group, "key": next(keys), **MOVES}

    np.testing.assert_allclose(short(x, v, charge), full(x, v, charge), atol=1e-14)
    assert_equivariant(short, x, v, charge, **law)
    assert equivariance_error(wrong, x, v, charge, **law) > 1e-2
    assert 8 in leading_axes(full, x, v, charge)
    assert 8 not in leading_axes(short, x, v, charge)


def leading_axes(fn, *args):
    """The lengths of the first axes of everything that a function computes."""
    equations = jax.make_jaxpr(fn)(*args).eqns
    return {var.aval.shape[0] for each in equations for var in each.outvars if var.aval.shape}


def test_what_does_not_move_is_computed_once(keys):
    x, v, charge = inputs(keys, 3)
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


def test_keyword_arguments_and_untouched_arguments_pass_through(keys):
    x, _, _ = inputs(keys, 3)
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
    out = averaged(x, "label", scale=2.0, name="kept")
    assert seen == [("label", "kept")]
    assert out["count"] == 3


def test_frame_of_several_arguments(keys):
    x, v, charge = inputs(keys, 3)
    mask = jnp.array([True, True, True, True, True, False])
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
    assert averaged(x, mask) == averaged(x.at[5].set(1e6), mask)
    assert averaged(x, mask) != averaged(x.at[4].add(1), mask)


def test_forces_are_conservative_and_equivariant(keys):
    x, _, _ = inputs(keys, 3)
    weight = jax.random.normal(next(keys), (3, 4), jnp.float64)
    bare = lambda x: jnp.sum(jnp.sin(x @ weight + 0.4) + (x @ weight) ** 3 / 9)

    def energy_of(frame):
        return sf.frame_average(bare, frame, in_actions=sf.points, out_actions=None)

    energy = energy_of(sf.pca_frame)
    forces = jax.jit(lambda x: -jax.grad(energy)(x))
    law = {"group": sf.euclidean(3), "in_actions": sf.points, "out_actions": sf.vectors}
    assert_equivariant(forces, x, key=next(keys), tolerance=1e-11, **law)
    arms = x - jnp.mean(x, axis=0, keepdims=True)
    torque = lambda f: jnp.abs(jnp.sum(jnp.cross(arms, f(x)), axis=0)).max()
    net = lambda f: jnp.abs(jnp.sum(f(x), axis=0)).max()
    energy = jax.jit(energy)
    slope = jax.jit(jax.grad(energy))
    assert torque(forces) < 1e-12 and net(forces) < 1e-12

    direction = jax.random.normal(next(keys), x.shape, jnp.float64)
    step = 1e-5
    central = (energy(x + step * direction) - energy(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(-jnp.sum(forces(x) * direction), central, rtol=1e-7)
    # The second derivative exists, as training on forces needs.
    curvature = jax.jit(lambda x, d: jax.jvp(jax.grad(energy), (x,), (d,))[1])(x, direction)
    ahead, behind = (slope(x + s * step * direction) for s in (1, -1))
    np.testing.assert_allclose(curvature, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)

    # A detached frame gives equivariant forces that are no gradient and exert a torque.
    detached = jax.jit(jax.grad(energy_of(functools.partial(sf.pca_frame, detach=True))))
    assert_equivariant(detached, x, key=next(keys), tolerance=1e-11, **law)
    assert torque(detached) > 1e-2
    assert torque(jax.grad(bare)) > 1e-2


def test_one_trace_a_shape(keys):
    traces = []

    def backbone(x, v, charge):
        traces.append(x.shape)
        return x

    averaged = jax.jit(sf.frame_average(backbone, sf.pca_frame, **MOVES))
    for _ in range(3):
        averaged(*inputs(keys, 3))
    assert len(traces) == 1
    averaged(*inputs(keys, 3, count=7))
    assert len(traces) == 2


def test_batches_of_clouds_by_vmap(keys):
    backbone = generic(next(keys), 3)
    averaged = sf.frame_average(backbone, sf.pca_frame, **MOVES)
    batch = jax.tree.map(lambda *rows: jnp.stack(rows), *[inputs(keys, 3) for _ in range(5)])
    together = jax.jit(jax.vmap(averaged))(*batch)
    alone = jax.jit(averaged)(*jax.tree.map(lambda leaf: leaf[-1], batch))
    np.testing.assert_allclose(together[-1], alone, atol=1e-13)
