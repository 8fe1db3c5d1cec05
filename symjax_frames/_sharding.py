"""Functions of data that is split over a mesh with Explicit axes, as `jax.make_mesh` makes them.

Explicit axes are a part of the type of an array. Operations such as `top_k`, QR, or a gather by
indices that are split have no rule for them, and others look for a mesh that only `jax.set_mesh`
tells. Where Explicit axes are taken as Auto, the compiler decides, and all of them work.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree, Shaped

_WHOLE = PartitionSpec()
_ARRAYS = (jax.Array, np.ndarray)


def explicit_mesh(tree: PyTree) -> AbstractMesh | None:
    """The mesh of the first array of `tree` that has one with Explicit axes."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            mesh = jax.typeof(leaf).sharding.mesh
            if AxisType.Explicit in mesh.axis_types:
                return mesh.abstract_mesh
    return None


def on_own_mesh[**P, R](fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` of arguments that may be split over Explicit axes, which it takes as Auto.

    Under `jax.vmap` over a batch that is split, the results are split as the batch is, with or
    without `jax.set_mesh`. What the arguments themselves are split along, such as the points of one
    large cloud, is whole in the results.
    """

    @functools.wraps(fn)
    def sharded(*args: P.args, **kwargs: P.kwargs) -> R:
        mesh = explicit_mesh((args, kwargs))
        return fn(*args, **kwargs) if mesh is None else _run(fn, mesh, _WHOLE, args, kwargs)

    return sharded


@on_own_mesh
def whole(tree: PyTree) -> PyTree:
    """`tree` with what is split over Explicit axes on every device: for functions of a data set."""
    return tree


def take(
    x: Shaped[Array, "..."], index: Int[Array, "*index"], axis: int = 0, mode: str | None = None
) -> Shaped[Array, "..."]:
    """The entries `index` of `x` along an axis, split as the indices are, and else as `x` is.

    Args:
      x: the array.
      index: which entries.
      axis: along which axis.
      mode: what is taken beyond the ends, as in `jax.Array.at`.
    """
    mesh = explicit_mesh((x, index))
    if mesh is None:
        return _take(x, index, axis, mode)
    outer, inner = (tuple(jax.typeof(array).sharding.spec) for array in (x, index))
    # An axis of the mesh cannot split the result twice: the indices have it.
    taken = set(jax.tree.leaves(inner))
    kept = [None if taken & set(jax.tree.leaves(names)) else names for names in outer]
    axis %= x.ndim
    spec = PartitionSpec(*kept[:axis], *inner, *kept[axis + 1 :])
    return _run(_take, mesh, spec, (x, index, axis, mode), {})


def _take(x: Array, index: Array, axis: int, mode: str | None) -> Array:
    return x.at[(slice(None),) * (axis % x.ndim) + (index,)].get(mode=mode)


def _run(fn: Callable, mesh: AbstractMesh, spec: PartitionSpec, args: tuple, kwargs: dict) -> Any:
    """Calls `fn` with the axes of `mesh` taken as Auto; its results are split as `spec` says."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    arrays = [leaf if isinstance(leaf, _ARRAYS) else None for leaf in leaves]
    others = tuple(None if isinstance(leaf, _ARRAYS) else _Static(leaf) for leaf in leaves)
    return _run_flat(fn, mesh, spec, tree, others, arrays)


# Jitted, since outside of a jitted function constants have no place on the mesh.
@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4), inline=True)
def _run_flat(
    fn: Callable,
    mesh: AbstractMesh,
    spec: PartitionSpec,
    tree: Any,
    others: tuple["_Static | None", ...],
    arrays: list,
) -> Any:
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = [name for name, kind in kinds if kind == AxisType.Explicit]
    auto = mesh.update_axis_types(dict.fromkeys(explicit, AxisType.Auto))
    with jax.sharding.use_abstract_mesh(auto):
        arrays = jax.sharding.reshard(arrays, _WHOLE)
        pairs = zip(arrays, others, strict=True)
        leaves = [array if other is None else other.value for array, other in pairs]
        args, kwargs = jax.tree.unflatten(tree, leaves)
        results = fn(*args, **kwargs)
    return jax.sharding.reshard(results, NamedSharding(mesh, spec))


class _Static:
    """What is no array of JAX; compared by identity if it cannot be hashed."""

    def __init__(self, value: Any):
        self.value = value

    def _key(self) -> Any:
        try:
            hash(self.value)
        except TypeError:
            return id(self.value)
        return type(self.value), self.value

    def __hash__(self) -> int:
        return hash(self._key())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self._key() == other._key()
