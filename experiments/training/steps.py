"""The pure functions of training: some steps of gradient descent, and a validation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from experiments.training.mesh import summed
from experiments.training.metrics import Chunks, mean_metrics
from experiments.training.optimizer import update_average
from experiments.training.packing import Packing, packing
from experiments.training.state import State, run_key
from experiments.training.task import Batch, Task


class Trace(NamedTuple):
    """What is seen of every step from outside."""

    loss: Float[Array, "*seeds steps"]
    gradient_norm: Float[Array, "*seeds steps"]


def epoch_rows(
    key: Key[Array, ""], epoch: Int[Array, ""], num_examples: int, batch_size: int
) -> Int[Array, "steps batch"]:
    """The examples of the batches of an epoch.

    They are the permutation drawn from `fold_in(key, epoch)`, cut into batches, without the rest
    that fills none.
    """
    rows = jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)
    steps = num_examples // batch_size
    return rows[: steps * batch_size].reshape(steps, batch_size)


def batch_rows(
    key: Key[Array, ""], first: Int[Array, ""], length: int, num_examples: int, batch_size: int
) -> Int[Array, "length batch"]:
    """The examples of the batches of steps `first` to `first + length - 1`.

    The order depends on `key` and the step alone.
    """
    steps_per_epoch = num_examples // batch_size
    epoch = first // steps_per_epoch
    # The most epochs that `length` steps can touch, wherever they begin.
    touched = (length + 2 * steps_per_epoch - 2) // steps_per_epoch

    epochs = epoch + jnp.arange(touched, dtype=epoch.dtype)
    rows = jax.vmap(lambda epoch: epoch_rows(key, epoch, num_examples, batch_size))(epochs)
    rows = rows.reshape(touched * steps_per_epoch, batch_size)
    return jax.lax.dynamic_slice_in_dim(rows, first % steps_per_epoch, length)


class Share(NamedTuple):
    """What one device takes of every batch.

    Attributes:
      positions: places in the batch; a batch that the devices do not divide begins again.
      counted: which of them count: each place counts on one device.
    """

    positions: Int[Array, " share"]
    counted: Bool[Array, " share"]


def share_size(batch_size: int, devices: int, parts: int) -> int:
    """How many examples of a batch a device evaluates: a multiple of `parts`."""
    return -(-batch_size // (devices * parts)) * parts


def share_of(batch_size: int, parts: int, axis: str | None) -> Share:
    """The share of this device, by its index along an axis of the mesh.

    Args:
      batch_size: examples in a batch.
      parts: what the size of the share must be a multiple of.
      axis: the axis of the mesh that batches are split along, or `None` on one device.
    """
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    size = share_size(batch_size, devices, parts)
    first = 0 if axis is None else jax.lax.axis_index(axis) * size
    places = first + jnp.arange(size, dtype=jnp.int32)
    return Share(places % batch_size, places < batch_size)


def take_steps(
    state: State,
    seed: Int[Array, ""],
    data: Batch,
    *,
    task: Task,
    optimizer: optax.GradientTransformationExtraArgs,
    batch_size: int,
    ema: float | None,
    length: int,
    gradient_parts: int = 1,
    packed: Packing | None = None,
    axis: str | None = None,
    fed: bool = False,
) -> tuple[State, Trace]:
    """Takes `length` steps of one seed.

    On a mesh this is what each device does. It evaluates its share of every batch, and one sum over
    the devices gives all of them the gradient, and with it the loss.

    Args:
      state: the state of the seed.
      seed: the seed; with the step it decides everything random.
      data: the training examples; or, if `fed`, those of each step, `(length, share, ...)`.
      task: gives the loss.
      optimizer: turns gradients into updates.
      batch_size: examples in a batch.
      ema: decay of the moving average of the weights, or `None`.
      length: number of steps.
      gradient_parts: parts of a batch whose gradients are computed one after the other and added.
      packed: the packing of the state, if it is packed.
      axis: the axis of the mesh that batches are split along, inside of `jax.shard_map`.
      fed: whether `data` are the share of this device of each batch, in order, and not all examples.

    Returns:
      The new state, packed as the old one, and the loss and gradient norm of every step.
    """
    key = run_key(seed)
    draws = jax.random.fold_in(key, 2)
    share = share_of(batch_size, gradient_parts, axis)
    batches: PyTree[Array] = data
    if not fed:
        num_examples = len(next(iter(data.values())))
        order = jax.random.fold_in(key, 1)
        batches = batch_rows(order, state.step, length, num_examples, batch_size)
        batches = batches[:, share.positions]

    # Outside of the loss, parameters are one vector, which compiles and runs faster.
    found = packing(state.params) if packed is None else packed
    pack, unpack = found

    def loss_and_gradient(
        params: Array, chosen: PyTree[Array], keys: Key[Array, " rows"], counted: Array
    ) -> tuple[Array, Array]:
        """What examples add to the loss of the batch, which is a mean, and to its gradient."""
        batch = chosen if fed else {name: array[chosen] for name, array in data.items()}

        def part(params: PyTree[Array]) -> Float[Array, ""]:
            losses = task.losses(params, batch, keys)
            return jnp.sum(jnp.where(counted, losses, 0)) / batch_size

        loss, gradient = jax.value_and_grad(part)(unpack(params))
        return loss, pack(gradient)

    def accumulated(params: Array, *examples: PyTree[Array]) -> tuple[Array, Array]:
        """The same, of a part of the examples after the other."""

        def add(sums: tuple[Array, Array], part: tuple[Array, ...]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, loss_and_gradient(params, *part)), None

        parts = jax.tree.map(
            lambda array: array.reshape(gradient_parts, -1, *array.shape[1:]), examples
        )
        first = jax.tree.map(lambda array: array[0], parts)
        shapes = jax.eval_shape(loss_and_gradient, params, *first)
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return jax.lax.scan(add, zeros, parts)[0]

    def step(state: State, chosen: PyTree[Array]) -> tuple[State, Trace]:
        draw = jax.random.fold_in(draws, state.step)
        # Of the whole batch, so that draws do not depend on the number of devices.
        keys = jax.random.split(draw, batch_size)[share.positions]
        descend = loss_and_gradient if gradient_parts == 1 else accumulated
        loss, gradient = summed(descend(state.params, chosen, keys, share.counted), axis)
        # Optax raises its decay rates to a whole number, which the strict rules forbid.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimizer.update(
                gradient, state.optimizer, state.params, packed=found
            )
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if ema is not None:
            average = update_average(average, params, state.step, ema)
        state = state._replace(
            params=params,
            optimizer=moments,
            average=average,
            step=state.step + 1,
            loss_sum=state.loss_sum + loss.astype(state.loss_sum.dtype),
        )
        return state, Trace(loss, optax.tree.norm(gradient))

    unroll = 0 if task.unrolled else 1  # 0 stands for all of them.
    if packed is not None:
        return jax.lax.scan(step, state, batches, unroll=unroll)
    state, trace = jax.lax.scan(step, pack(state), batches, unroll=unroll)
    return unpack(state), trace


def validate(
    state: State,
    chunks: Chunks,
    *,
    task: Task,
    steps: int,
    packed: Packing | None = None,
    axis: str | None = None,
) -> tuple[State, Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Validates one seed, and keeps its weights if they are the best so far.

    Args:
      state: the state of the seed.
      chunks: the validation examples.
      task: gives the metrics.
      steps: number of steps since the last validation.
      packed: the packing of the state, if it is packed.
      axis: the axis of the mesh that chunks are split along, inside of `jax.shard_map`.

    Returns:
      The state with the best weights and a fresh sum of losses, the mean training loss since the
      last validation, and the metrics.
    """
    weights = state.evaluated if packed is None else packed.unpack(state.evaluated)
    metrics = mean_metrics(task, weights, chunks, axis)
    metric = metrics[task.metric].astype(state.best_metric.dtype)
    # False for NaN, which so never becomes the best.
    better = metric < state.best_metric

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(better, new, old)

    loss = state.loss_sum / steps
    state = state._replace(
        best=jax.tree.map(keep, state.evaluated, state.best),
        best_metric=keep(metric, state.best_metric),
        best_step=keep(state.step, state.best_step),
        loss_sum=jnp.zeros_like(state.loss_sum),
    )
    return state, loss, metrics
