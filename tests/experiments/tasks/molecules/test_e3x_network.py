import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.errors import UsageError
from experiments.tasks.molecules.networks.e3x_network import E3xNetwork, _MessagePass
from tests.helpers.backbones import (
    NEEDS_E3X,
    complete,
    draw_molecule,
    jit,
    output,
)
from tests.helpers.networks import relative

EPS = np.finfo(np.float64).eps
# Epsilons of rounding: harmonics, two rounds of couplings and the gradient through them.
FEW = 2000


@NEEDS_E3X
@pytest.mark.parametrize("degrees", [(2, 2), (0, 2)])
def test_messages_are_those_of_e3x(degrees):
    """With its parameters, for any degrees of the features before and after."""
    import e3x

    before, after = degrees
    rng = np.random.default_rng(0)
    nodes = jnp.asarray(rng.normal(size=(4, 1, (before + 1) ** 2, 3)))
    basis = jnp.asarray(rng.normal(size=(4, 4, 1, 9, 5)))
    basis = jnp.where(np.eye(4, dtype=bool)[:, :, None, None, None], 0, basis)
    ours = _MessagePass(after)
    theirs = e3x.nn.MessagePass(after, include_pseudotensors=False, param_dtype=float)

    graph, indices = complete(np.ones(4, bool)), {"adj_idx": jnp.tile(jnp.arange(4), (4, 1))}

    @jit
    def run(params):
        (coupling,) = [name for name in params if name != "filter"]
        same = {"filter": params["filter"], **params[coupling]}
        drawn = jax.eval_shape(ours.init, jax.random.key(0), nodes, basis, graph)["params"]
        assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, same)
        changed = jax.tree.map(lambda leaf: leaf + 0.1, same)
        mine, other = (ours.apply({"params": p}, nodes, basis, graph) for p in (same, changed))
        return mine, other, theirs.apply({"params": params}, nodes, basis, **indices)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        shapes = jax.eval_shape(lambda: theirs.init(jax.random.key(0), nodes, basis, **indices))
        params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes["params"])
        mine, other, expected = run(params)
    assert relative(mine, expected) < FEW * EPS
    assert relative(other, expected) > 1e-2


def build(rngs):
    sizes = {"hidden": 4, "layers": 1, "cutoff": 3.0, "radial": 3, "degree": 1}
    return E3xNetwork(2, 1, **sizes, rngs=rngs)


@NEEDS_E3X
def test_its_parameters_leave_it_and_come_back():
    graph = nnx.graphdef(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
    draw = jit(lambda key: nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)))))
    params, others = draw(jax.random.key(0)), draw(jax.random.key(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(np.float32)}

    # All is zero as drawn: so it is with one more than that.
    positions, species = draw_molecule(3, np.float32)
    args = positions, np.minimum(species, 2), complete(np.ones(3, bool))
    results = [
        output(nnx.merge(graph, nnx.State(jax.tree.map(lambda leaf: leaf + 1, kept))), *args)
        for kept in (params, jax.tree.map(jnp.asarray, jax.tree.map(np.asarray, params)), others)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert relative(results[2], results[0]) > 1e-3
    state = nnx.to_pure_dict(nnx.state(nnx.merge(graph, nnx.State(params))))
    chex.assert_trees_all_equal(state, params)
    np.testing.assert_array_equal(output(nnx.merge(graph, nnx.State(params)), *args), 0)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "e3x", None)
    with pytest.raises(UsageError, match=r"pip install -e '.\[e3x\]'"):
        nnx.eval_shape(lambda: build(nnx.Rngs(0)))
