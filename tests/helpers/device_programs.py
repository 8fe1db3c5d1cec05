"""The programs of a training on a mesh: what they compute, and what devices exchange in them."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training.mesh import make_mesh, on_devices
from experiments.training.metrics import cut
from experiments.training.optimizer import make_optimizer
from experiments.training.programs import make_programs, packed_state
from experiments.training.state import initial_state

EXCHANGES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def programs(config, task):
    """The programs of a run, what they take, and the mesh."""
    mesh = make_mesh(config.mesh)
    optimizer = make_optimizer(config.train, config.num_steps)
    seeds = jnp.asarray(config.train.seeds, jnp.int32)
    start = jax.vmap(lambda seed: initial_state(task, optimizer, True, seed))
    state, packed = packed_state(jax.jit(start)(seeds), mesh)
    examples = on_devices(dict(task.splits["train"]), mesh)
    chunks = cut(task.splits["valid"], config.train.evaluation_batch_size, mesh)
    return make_programs(config, task, packed, mesh), state, examples, chunks


def exchanges(compiled):
    """The operations between devices of a program: kind, and shape of what is exchanged."""
    found = re.findall(rf"= (\S+) ({'|'.join(EXCHANGES)})(?:-start)?\(", compiled.as_text())
    return [(kind, shape.split("{")[0]) for shape, kind in found]


def outcome(config, task):
    """The weights after two steps, their losses and the metrics of a validation; the programs."""
    (dispatch, validation), *inputs = programs(config, task)
    state, examples, chunks = inputs
    steps = dispatch.lower(state, examples, 2).compile()
    validate = validation.lower(state, chunks).compile()
    return run(steps, validate, *inputs), steps, validate


def run(steps, validate, state, examples, chunks):
    """The weights after two steps, their losses and the metrics of a validation."""
    state, trace = steps(state, examples)
    state, _, metrics = validate(state, chunks)
    return jax.device_get((state.average, trace.loss, metrics))


def alike(one, other, rtol):
    """Whether two outcomes are the same but for rounding.

    Sums over devices round otherwise, by some eps of float32, 1.2e-7; Adam divides each slope by its
    own size, so that those of small slopes count as much: 1e-5 is 84 of them. Of convolutions and of
    derivatives of an energy ten times as many.
    """
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.allclose(a, b, rtol=rtol, atol=rtol) for a, b in pairs)
