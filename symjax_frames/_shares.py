"""The elements of a frame, shared among the devices along an axis of a mesh."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from symjax_frames._sharding import explicit_mesh, on_own_mesh
from symjax_frames._types import Frame


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
