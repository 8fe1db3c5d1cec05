"""The compiled programs of training: some steps, and a validation, of all seeds at once."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from experiments.config import Config
from experiments.training.feed import examples_spec, is_read_meanwhile
from experiments.training.mesh import DATA, OF_CHUNKS, WHOLE, on_devices, on_each_device
from experiments.training.metrics import Chunks
from experiments.training.optimizer import make_optimizer
from experiments.training.packing import Packing, packing
from experiments.training.state import State, map_seeds
from experiments.training.steps import Trace, take_steps, validate
from experiments.training.task import Batch, Task

Validated = tuple[State, Float[Array, " seeds"], dict[str, Float[Array, " seeds"]]]


class Programs(NamedTuple):
    """What runs on the device; the states are packed, and given away.

    Attributes:
      dispatch: `(state, examples, length)`, with a static length and what `feed` gives, to the state
        and the trace of so many steps. It is traced once for each length.
      validation: `(state, chunks)` to the state with the best weights, the mean losses and the
        metrics.
    """

    dispatch: Callable[[State, Batch, int], tuple[State, Trace]]
    validation: Callable[[State, Chunks], Validated]


def packed_state(state: State, mesh: Mesh | None = None) -> tuple[State, Packing]:
    """The state of all seeds, packed, and the packing of the parameters of one.

    It is done on the host, where it compiles nothing.

    Args:
      state: the state.
      mesh: whose devices each have all of it; by default there is one.
    """
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state.params
    )
    found = packing(params)
    on_host = found.pack(jax.device_get(state))
    # Copied: the programs are given the memory.
    return jax.tree.map(partial(jnp.array, copy=True), on_devices(on_host, mesh)), found


def make_programs(
    config: Config, task: Task, packing: Packing, mesh: Mesh | None = None
) -> Programs:
    """The programs of a run.

    A step takes one exchange between devices, of the gradient, and a validation one, of the sums.

    Args:
      config: the configuration.
      task: what is learnt.
      packing: of the parameters.
      mesh: the devices; by default there is one.
    """
    axis = None if mesh is None else DATA
    fed, spec = is_read_meanwhile(task.splits["train"]), examples_spec(task.splits["train"])
    settings = config.train
    optimizer = make_optimizer(settings, config.num_steps)
    seeds = jnp.asarray(settings.seeds, jnp.int32)
    between = settings.evaluate_every * config.steps_per_epoch

    @partial(jax.jit, static_argnames="length", donate_argnums=0)
    def dispatch(state: State, examples: Batch, length: int) -> tuple[State, Trace]:
        steps = partial(
            take_steps,
            task=task,
            optimizer=optimizer,
            batch_size=settings.batch_size,
            ema=settings.ema,
            length=length,
            gradient_parts=settings.gradient_parts,
            packed=packing,
            axis=axis,
            fed=fed,
        )

        def of_seeds(state: State, examples: Batch) -> tuple[State, Trace]:
            if fed:
                return map_seeds(task, steps, state, seeds, examples)
            return map_seeds(task, lambda state, seed: steps(state, seed, examples), state, seeds)

        return on_each_device(of_seeds, mesh, (WHOLE, spec))(state, examples)

    @partial(jax.jit, donate_argnums=0)
    def validation(state: State, chunks: Chunks) -> Validated:
        one = partial(validate, task=task, steps=between, packed=packing, axis=axis)

        def of_seeds(state: State, chunks: Chunks) -> Validated:
            return map_seeds(task, lambda state: one(state, chunks), state)

        return on_each_device(of_seeds, mesh, (WHOLE, OF_CHUNKS))(state, chunks)

    return Programs(dispatch, validation)
