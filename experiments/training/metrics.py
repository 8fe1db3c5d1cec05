"""The mean of the metrics over a split, a chunk of examples at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from experiments.training.task import Batch, Task


class Chunks(NamedTuple):
    """A split cut into chunks of one size, so that one compiled program evaluates all of them.

    Attributes:
      examples: arrays with leading axes `(chunks, chunk)`.
      real: which examples are not there to fill up the last chunk.
    """

    examples: Batch
    real: Bool[Array, "chunks chunk"]


def cut(split: dict[str, np.ndarray], chunk: int) -> Chunks:
    """Cuts a split into chunks of at most `chunk` examples."""
    count = len(next(iter(split.values())))
    chunk = min(chunk, count)
    rows = np.arange(-(-count // chunk) * chunk).reshape(-1, chunk)
    real = rows < count
    # Filled with a real example rather than zeros: a metric may be undefined on zeros.
    rows = np.where(real, rows, 0)
    examples = jax.device_put({name: array[rows] for name, array in split.items()})
    return Chunks(examples, jax.device_put(real))


def mean_metrics(task: Task, params: PyTree[Array], chunks: Chunks) -> dict[str, Float[Array, ""]]:
    """The metrics of a split: means over its examples, and what the task makes of them."""

    def chunk_sums(chunk: Chunks) -> dict[str, Float[Array, ""]]:
        metrics = task.evaluate(params, chunk.examples)
        return {name: jnp.sum(jnp.where(chunk.real, values, 0)) for name, values in metrics.items()}

    totals = jax.lax.map(chunk_sums, chunks)
    count = jnp.sum(chunks.real)
    return task.summarized(
        {name: jnp.sum(sums) / count.astype(sums.dtype) for name, sums in totals.items()}
    )
