"""What training and evaluation both begin with: the task of a run and the state it is in."""

from functools import partial

import jax
import jax.numpy as jnp

from experiments import tasks
from experiments.checkpoint import Checkpoints
from experiments.config import Config
from experiments.errors import UsageError
from experiments.optimizer import make_optimizer
from experiments.state import State, initial_state
from experiments.tasks._task import Initialized, Task


def make_task(config: Config) -> Task:
    """Builds the task that a configuration names.

    Raises:
      UsageError: if its data cannot be had or its model cannot be built as configured.
    """
    try:
        return tasks.TASKS[config.task](config)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def begin(config: Config, task: Initialized, checkpoints: Checkpoints) -> tuple[State, int]:
    """The state in which a run begins or goes on, and the number of steps it has taken.

    Returns:
      The newest whole checkpoint if there is one and the initial state otherwise, with a leading
      axis of seeds.

    Raises:
      ExperimentError: if there are checkpoints and none of them can be used.
    """
    optimizer = make_optimizer(config.train, config.num_steps)
    initial = jax.jit(
        jax.vmap(partial(initial_state, task, optimizer, config.train.ema is not None))
    )
    seeds = jnp.asarray(config.train.seeds, jnp.int32)
    restored = checkpoints.restore(jax.eval_shape(initial, seeds))
    if restored is None:
        return initial(seeds), 0
    # Copied: the loop donates the state, and this memory belongs to NumPy.
    state = jax.tree.map(partial(jnp.array, copy=True), restored)
    return state, int(state.step[0])
