"""Everything that a run carries from one step to the next, as one pytree."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from experiments.training.task import Initialized, Task


class State(NamedTuple):
    """The state of one seed; a run stacks its seeds on a leading axis of every leaf.

    Attributes:
      params: the weights.
      optimizer: the state of the optimiser.
      average: moving average of the weights; without one it is `None` and `params` are evaluated.
      step: number of steps taken.
      loss_sum: sum of the training losses since the last validation.
      best: evaluated weights of the best validation so far; the initial ones before the first.
      best_metric: their validation metric, infinite before the first.
      best_step: the step they are from.
    """

    params: PyTree[Array]
    optimizer: PyTree[Array]
    average: PyTree[Array]
    step: Int[Array, "*seeds"]
    loss_sum: Float[Array, "*seeds"]
    best: PyTree[Array]
    best_metric: Float[Array, "*seeds"]
    best_step: Int[Array, "*seeds"]

    @property
    def evaluated(self) -> PyTree[Array]:
        """The weights that are evaluated: their moving average if there is one."""
        return self.params if self.average is None else self.average

    @property
    def parameters(self) -> int:
        """The number of weights of one seed, from shapes alone: an index would compile a program."""
        return sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(self.params))


def map_seeds(task: Task, fn: Callable[..., Any], *args: PyTree) -> Any:
    """`fn` of every seed, for arguments with a leading axis of seeds; see `Task.seeds_together`."""
    count = len(jax.tree.leaves(args)[0])
    # One seed needs no axis of seeds, which takes a third longer to trace.
    if task.seeds_together and count > 1:
        return jax.vmap(fn)(*args)
    if not task.unrolled:
        return jax.lax.map(lambda of_seed: fn(*of_seed), args)
    results = [fn(*jax.tree.map(lambda leaf, seed=seed: leaf[seed], args)) for seed in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def run_key(seed: Int[Array, ""]) -> Key[Array, ""]:
    """The key that everything random in the run of `seed` descends from."""
    return jax.random.key(seed)


def initial_state(
    task: Initialized, optimizer: optax.GradientTransformation, averaged: bool, seed: Int[Array, ""]
) -> State:
    """The state of a seed before the first step.

    Args:
      task: draws the weights.
      optimizer: the optimiser.
      averaged: whether to keep a moving average of the weights.
      seed: the seed of the run.
    """
    params = task.init(jax.random.fold_in(run_key(seed), 0))
    float_type = jnp.result_type(float)
    return State(
        params=params,
        optimizer=optimizer.init(params),
        average=params if averaged else None,
        step=jnp.zeros((), jnp.int32),
        loss_sum=jnp.zeros((), float_type),
        best=params,
        best_metric=jnp.full((), jnp.inf, float_type),
        best_step=jnp.zeros((), jnp.int32),
    )
