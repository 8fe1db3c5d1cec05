"""Taking up a run: the state it begins with, or the one that is stored."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from experiments.config import Config
from experiments.errors import UsageError
from experiments.runs.checkpoint import Checkpoints
from experiments.runs.folder import RunFolder
from experiments.training.optimizer import make_optimizer
from experiments.training.state import State, initial_state
from experiments.training.task import Initialized


def begin(config: Config, model: Initialized, checkpoints: Checkpoints) -> tuple[State, int]:
    """The state in which a run begins or goes on, and the number of steps it has taken.

    Returns:
      The newest whole checkpoint if there is one and the initial state otherwise, with a leading
      axis of seeds.

    Raises:
      ExperimentError: if there are checkpoints and none of them can be used.
    """
    optimizer = make_optimizer(config.train, config.num_steps)
    one = partial(initial_state, model, optimizer, config.train.ema is not None)

    # It runs once, so that most of its optimisation would only cost time; the weights are the same.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    def initial(seeds: Int[Array, " seeds"]) -> State:
        if len(seeds) > 1:
            return jax.vmap(one)(seeds)
        return jax.tree.map(lambda leaf: leaf[None], one(seeds[0]))

    seeds = jnp.asarray(config.train.seeds, jnp.int32)
    restored = checkpoints.restore(jax.eval_shape(initial, seeds))
    if restored is None:
        return initial(seeds), 0
    # Copied: the loop donates the state, and this memory belongs to NumPy.
    state = jax.tree.map(partial(jnp.array, copy=True), restored)
    return state, int(state.step[0])


def load_state(
    config: Config,
    folder: RunFolder,
    model: Initialized,
    facts: Mapping[str, Any] | None = None,
) -> State:
    """Reads the state of a run that has been validated at least once.

    Args:
      config: the configuration of the run.
      folder: the folder of the run.
      model: draws the parameters: a task, or its model alone, which needs no data set.
      facts: what the data say now, `Task.facts`, to be compared with what the run has stored.

    Raises:
      UsageError: if the run has not come that far, or its data are no longer those it began with.
    """
    if facts is not None:
        folder.check_facts(facts)
    checkpoints = Checkpoints(folder.checkpoints)
    if not checkpoints.steps():
        raise UsageError(f"{folder.path}: has no checkpoint yet; train it first")
    state, _ = begin(config, model, checkpoints)
    if not np.all(np.isfinite(np.asarray(state.best_metric))):
        raise UsageError(f"{folder.path}: was not validated yet; train it further first")
    return state


def seed_params(state: State, index: int) -> PyTree:
    """The best weights of the seed at an index among the seeds.

    Taken on the host, where it compiles nothing.
    """
    return jax.tree.map(lambda leaf: leaf[index], jax.device_get(state.best))


def best_params(state: State) -> PyTree:
    """The best weights of the seed with the lowest validation error."""
    return seed_params(state, int(np.argmin(np.asarray(state.best_metric))))
