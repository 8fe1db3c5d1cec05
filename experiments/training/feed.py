"""Where steps get their examples from: all lie on the devices, or files are read meanwhile."""

import functools
import itertools
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from experiments.config import Config
from experiments.errors import UsageError
from experiments.extras import missing_package
from experiments.training.mesh import DATA, WHOLE, on_devices
from experiments.training.state import run_key
from experiments.training.steps import epoch_rows, share_size
from experiments.training.task import Batch

_AHEAD = 2
"""Dispatches whose examples are read before they are asked for."""
OF_BATCHES = PartitionSpec(None, None, DATA)
"""Examples of seeds and steps, of which every device has a share."""


def is_read_meanwhile(split: Mapping[str, np.ndarray]) -> bool:
    """Whether examples stay in files, as arrays that are mapped into memory do."""
    return any(isinstance(array, np.memmap) for array in split.values())


def examples_spec(split: Mapping[str, np.ndarray]) -> PartitionSpec:
    """How what `feed` gives is split over devices."""
    return OF_BATCHES if is_read_meanwhile(split) else WHOLE


def feed(
    config: Config,
    split: Mapping[str, np.ndarray],
    mesh: Mesh | None,
    plan: Sequence[tuple[int, int]],
) -> Generator[Batch]:
    """The examples of one dispatch after the other.

    Of a split in memory these are all of them each time, on every device. Of one in files they are
    those of the steps of the dispatch, for each seed, `(seeds, steps, batch, ...)`, in the same order
    as `take_steps` takes them from memory. They are read while the devices compute, by grain, and
    each process reads only what its devices take.

    Args:
      config: the configuration.
      split: the training examples.
      mesh: the devices; by default there is one.
      plan: the first step of each dispatch, and its number of steps.

    Raises:
      UsageError: examples are in files, and grain is not installed.
    """
    if not is_read_meanwhile(split):
        yield from itertools.repeat(on_devices(dict(split), mesh))
    try:
        import grain
    except ModuleNotFoundError as error:
        raise UsageError(missing_package(error)) from error
    source: Any = _Dispatches(config, split, mesh, plan)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_AHEAD)
    iterator: Any = iter(grain.MapDataset.source(source).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


class _Dispatches:
    """The examples of each dispatch of a plan, by its number."""

    def __init__(
        self,
        config: Config,
        split: Mapping[str, np.ndarray],
        mesh: Mesh | None,
        plan: Sequence[tuple[int, int]],
    ) -> None:
        self._split, self._mesh, self._plan = split, mesh, plan
        self._settings, self._steps_per_epoch = config.train, config.steps_per_epoch
        # Orders are as long as the data set, and most dispatches are of one epoch.
        self._order = functools.lru_cache(2 * len(config.train.seeds))(self._epoch)

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        first, length = self._plan[index]
        rows = np.stack([self._rows(seed, first, length) for seed in self._settings.seeds])
        return {name: self._placed(array, rows) for name, array in self._split.items()}

    def _rows(self, seed: int, first: int, length: int) -> Int[np.ndarray, "length places"]:
        """The examples of some steps, with those that fill up the share of the last device."""
        steps = range(first, first + length)
        epochs = [divmod(step, self._steps_per_epoch) for step in steps]
        rows = np.stack([self._order(seed, epoch)[step] for epoch, step in epochs])
        size = self._settings.batch_size
        devices = 1 if self._mesh is None else self._mesh.shape[DATA]
        places = devices * share_size(size, devices, self._settings.gradient_parts)
        return rows[:, np.arange(places) % size]

    def _epoch(self, seed: int, epoch: int) -> Int[np.ndarray, "steps batch"]:
        key = jax.random.fold_in(run_key(jnp.int32(seed)), 1)
        count = len(next(iter(self._split.values())))
        return np.asarray(epoch_rows(key, jnp.int32(epoch), count, self._settings.batch_size))

    def _placed(self, array: np.ndarray, rows: Int[np.ndarray, "seeds length places"]) -> jax.Array:
        if self._mesh is None:
            return jax.device_put(np.asarray(array[rows]))

        def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            return np.asarray(array[rows[index[:3]]])

        sharding = NamedSharding(self._mesh, OF_BATCHES)
        return jax.make_array_from_callback((*rows.shape, *array.shape[1:]), sharding, of_device)
