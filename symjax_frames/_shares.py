"""The elements of a frame, or the examples of a batch, shared among the devices of a mesh."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from symjax_frames._sharding import explicit_mesh, on_own_mesh
from symjax_frames._types import Frame

_SHARES = "shares of a batch"
"""What `jax.vmap` calls the axis of the shares."""


def mesh_with(axis: str, tree: PyTree) -> AbstractMesh:
    """The mesh of the context, or of an array of `tree` with Explicit axes.

    Raises:
      ValueError: if there is none, or if `axis` is not one that arrays can be split along.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        mesh = explicit_mesh(tree) or mesh
    if mesh.empty:
        raise ValueError(
            f"spmd_axis_name={axis!r} is an axis of a mesh, and there is none: call the average "
            "within `with jax.set_mesh(mesh):`"
        )
    if axis not in mesh.axis_names:
        raise ValueError(
            f"spmd_axis_name={axis!r} must be an axis of the mesh, got one with the axes "
            f"{', '.join(map(repr, mesh.axis_names))}"
        )
    if _type(mesh, axis) == AxisType.Manual:
        raise ValueError(
            f"spmd_axis_name={axis!r} is an axis of the jax.shard_map around the average, where "
            "every device has arrays of its own already; leave it out of its axis_names"
        )
    return mesh


def shared_frame(frame: Frame, axis: str, mesh: AbstractMesh) -> Frame:
    """`frame` split over an axis of the mesh, with copies of weight zero so that it can be."""
    padded = _padded(frame, -len(frame.weights) % _size(mesh, axis))

    def split(leaf: Array) -> Array:
        if _type(mesh, axis) == AxisType.Explicit:
            # Elements of a packed frame may be split along their graphs.
            others = tuple(jax.typeof(leaf).sharding.spec)[1:]
            return jax.sharding.reshard(leaf, NamedSharding(mesh, PartitionSpec(axis, *others)))
        others = (PartitionSpec.UNCONSTRAINED,) * (leaf.ndim - 1)
        # Made whole on every device first: to share what makes it takes more than it saves.
        whole = jax.lax.with_sharding_constraint(leaf, PartitionSpec(None, *others))
        return jax.lax.with_sharding_constraint(whole, PartitionSpec(axis, *others))

    return jax.tree.map(split, padded)


def on_shares(
    fn: Callable[[list[Array], str | None], PyTree[Array]], arrays: list[Array], axis: str | None
) -> PyTree[Array]:
    """Maps `fn` over the shares of a batch that is split over a mesh, one a device.

    Args:
      fn: of the arrays of a share, and the name of the axis of the shares, or `None` where the batch
        is whole. To results of the examples of the share.
      arrays: with the axis of the batch first.
      axis: the axis of a mesh that the batch is split over. By default the Explicit axes that it is
        split along, if there are any.

    Raises:
      ValueError: as `mesh_with`; if the batch does not divide.
    """
    mesh, names = _split_along(arrays) if axis is None else (mesh_with(axis, arrays), (axis,))
    if not names:
        return fn(arrays, None)
    shares = math.prod(_size(mesh, name) for name in names)
    if len(arrays[0]) % shares:
        raise ValueError(
            f"a batch over {shares} devices must have a multiple of so many examples, got "
            f"{len(arrays[0])}"
        )
    explicit = all(_type(mesh, name) == AxisType.Explicit for name in names)

    def reshaped(array: Array, *leading: int, dropped: int) -> Array:
        """With other leading axes, of which the first is split."""
        shape = (*leading, *array.shape[dropped:])
        if not explicit:
            split = PartitionSpec(names, *[PartitionSpec.UNCONSTRAINED] * (len(shape) - 1))
            return jax.lax.with_sharding_constraint(array.reshape(shape), split)
        rest = tuple(jax.typeof(array).sharding.spec)[dropped:]
        before = PartitionSpec(names, *[None] * (dropped - 1), *rest)
        after = PartitionSpec(names, *[None] * (len(leading) - 1), *rest)
        array = jax.sharding.reshard(array, NamedSharding(mesh, before))
        return jax.lax.reshape(array, shape, out_sharding=NamedSharding(mesh, after))

    size = len(arrays[0])
    mapped = jax.vmap(
        lambda arrays: fn(arrays, _SHARES),
        axis_name=_SHARES,
        spmd_axis_name=None if explicit else names,
    )
    results = mapped([reshaped(array, shares, size // shares, dropped=1) for array in arrays])
    return jax.tree.map(lambda leaf: reshaped(leaf, size, dropped=2), results)


def _split_along(arrays: list[Array]) -> tuple[AbstractMesh, tuple[str, ...]]:
    """The Explicit mesh, and its axes that the first array that is split has its batch along."""
    for array in arrays:
        sharding = jax.typeof(array).sharding
        names = (tuple(sharding.spec) or (None,))[0]
        if names is not None and AxisType.Explicit in sharding.mesh.axis_types:
            found = names if isinstance(names, tuple) else (names,)
            return sharding.mesh.abstract_mesh, found
    return jax.sharding.get_abstract_mesh(), ()


@on_own_mesh
def first_rows(tree: PyTree[Array], count: int) -> PyTree[Array]:
    """The first rows of every array, without those of the copies."""
    return jax.tree.map(lambda leaf: leaf[:count], tree)


@on_own_mesh
def _padded(frame: Frame, copies: int) -> Frame:
    if copies == 0:
        return frame

    def pad(leaf: Array, rows: Array) -> Array:
        return jnp.concatenate([leaf, jnp.broadcast_to(rows, (copies, *leaf.shape[1:]))])

    return frame._replace(
        elements=jax.tree.map(lambda leaf: pad(leaf, leaf[:1]), frame.elements),
        weights=pad(frame.weights, jnp.zeros_like(frame.weights[:1])),
    )


def _type(mesh: AbstractMesh, axis: str) -> Any:
    return mesh.axis_types[mesh.axis_names.index(axis)]


def _size(mesh: AbstractMesh, axis: str) -> int:
    return mesh.axis_sizes[mesh.axis_names.index(axis)]
