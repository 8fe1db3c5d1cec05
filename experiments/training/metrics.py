"""The mean of the metrics over a split, a chunk of examples at a time."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, PyTree

from experiments.training.mesh import DATA, OF_CHUNKS, on_devices, summed
from experiments.training.task import Batch, Task


class Chunks(NamedTuple):
    """A split cut into chunks of one size, so that one compiled program evaluates all of them.

    Attributes:
      examples: arrays with leading axes `(chunks, chunk)`.
      real: which examples are not there to fill up the last chunk.
    """

    examples: Batch
    real: Bool[Array, "chunks chunk"]


def cut(split: Mapping[str, np.ndarray], chunk: int, mesh: Mesh | None = None) -> Chunks:
    """Cuts a split into chunks of about `chunk` examples.

    Args:
      split: arrays with a leading axis of examples.
      chunk: the most examples of a chunk, but for what makes it a multiple of the devices.
      mesh: whose devices each get a share of every chunk; by default there is one.
    """
    count = len(next(iter(split.values())))
    devices = 1 if mesh is None else mesh.shape[DATA]
    chunk = -(-min(chunk, count) // devices) * devices
    rows = np.arange(-(-count // chunk) * chunk).reshape(-1, chunk)
    real = rows < count
    # Filled with a real example rather than zeros: a metric may be undefined on zeros.
    rows = np.where(real, rows, 0)
    examples = {name: array[rows] for name, array in split.items()}
    return Chunks(*on_devices((examples, real), mesh, OF_CHUNKS))


def mean_metrics(
    task: Task, params: PyTree[Array], chunks: Chunks, axis: str | None = None
) -> dict[str, Float[Array, ""]]:
    """The metrics of a split: means over its examples, and what the task makes of them.

    Args:
      task: gives the metrics of each example.
      params: the weights.
      chunks: the examples; on a mesh the share of this device.
      axis: the axis of the mesh that they are split along, inside of `jax.shard_map`.
    """

    def chunk_sums(chunk: Chunks) -> dict[str, Float[Array, ""]]:
        metrics = task.evaluate(params, chunk.examples)
        return {name: jnp.sum(jnp.where(chunk.real, values, 0)) for name, values in metrics.items()}

    sums = jax.tree.map(jnp.sum, (jax.lax.map(chunk_sums, chunks), chunks.real))
    totals, count = summed(sums, axis)
    return task.summarized(
        {name: total / count.astype(total.dtype) for name, total in totals.items()}
    )
