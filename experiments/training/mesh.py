"""The devices of a run, as a mesh: batches are split along one axis, frames along the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from experiments.config.sections import MeshConfig
from experiments.errors import UsageError
from experiments.symmetrize import FRAME

DATA = "data"
"""The axis of the mesh that examples are split along."""
WHOLE = PartitionSpec()
"""What every device has in full."""
OF_EXAMPLES = PartitionSpec(DATA)
"""Examples, of which every device has a share."""
OF_CHUNKS = PartitionSpec(None, DATA)
"""Chunks of examples, of each of which every device has a share."""


def make_mesh(config: MeshConfig) -> Mesh | None:
    """The devices that a configuration asks for, in two axes, `data` and `frame`.

    Returns:
      The mesh, or `None` for one device, which needs none.

    Raises:
      UsageError: if there are not as many, or several processes leave some out.
    """
    devices = jax.devices()
    there = f"{len(devices)} {'devices' if len(devices) > 1 else 'device'} of {devices[0].platform}"
    if len(devices) % config.frame and config.data is None:
        fitting = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise UsageError(
            f"mesh.frame must divide the {there}: one of {fitting}, got {config.frame}"
        )
    shape = (config.data or len(devices) // config.frame, config.frame)
    size = shape[0] * shape[1]
    if size > len(devices) or (jax.process_count() > 1 and size < len(devices)):
        bound = "at most" if jax.process_count() == 1 else "exactly"
        hint = ""
        if devices[0].platform == "cpu" and jax.process_count() == 1:
            hint = "; JAX_NUM_CPU_DEVICES=N in the environment makes N of the processor"
        raise UsageError(
            f"mesh must have {bound} as many places as there are devices, which are {there}, got "
            f"data {shape[0]} times frame {shape[1]}{hint}; mesh.data=null mesh.frame=1 takes them all"
        )
    if size == 1:
        return None
    return Mesh(np.array(devices[:size]).reshape(shape), (DATA, FRAME))


def on_devices(tree: PyTree, mesh: Mesh | None, spec: PartitionSpec = WHOLE) -> PyTree:
    """Arrays of the host on the devices of a mesh, each device with its part by `spec`.

    Args:
      tree: arrays, which every process has in full.
      mesh: the devices; by default there is one.
      spec: how they are split; by default not at all.
    """
    if mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, spec)

    def placed(array: Any) -> jax.Array:
        # Unlike jax.device_put it asks no other process whether it has the same.
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(placed, tree)


def on_each_device(
    fn: Callable[..., Any],
    mesh: Mesh | None,
    split: tuple[PartitionSpec, ...] | PartitionSpec,
    results: PartitionSpec = WHOLE,
) -> Callable[..., Any]:
    """`fn` run by every device along `data`, on its part of the arguments.

    The devices along `frame` are one to `fn`, and share its averages over frames.

    Args:
      fn: inside of it `summed` adds up what the devices have.
      mesh: the devices; by default there is one.
      split: how each argument is split, or all of them.
      results: how the results are put together; by default they must be the same on all devices.
    """
    if mesh is None:
        return fn
    return jax.shard_map(
        fn, mesh=mesh, in_specs=split, out_specs=results, axis_names={DATA}, check_vma=False
    )


def summed(tree: PyTree, axis: str | None) -> PyTree:
    """The sum over the devices along an axis of the mesh, in one exchange for each dtype.

    Args:
      tree: arrays, or such as `Packed` has.
      axis: its name, inside of `jax.shard_map`, or `None` on one device.
    """
    if axis is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    for dtype in {leaf.dtype for leaf in leaves}:
        chosen = [index for index, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat = jnp.concatenate([leaves[index].ravel() for index in chosen])
        ends = np.cumsum([leaves[index].size for index in chosen])[:-1]
        for index, part in zip(chosen, jnp.split(jax.lax.psum(flat, axis), ends), strict=True):
            leaves[index] = part.reshape(leaves[index].shape)
    return jax.tree.unflatten(structure, leaves)
