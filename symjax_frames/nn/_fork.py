"""Calling copies of a module at any level of tracing, so that nothing they change is lost unseen."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors, nnx
from jaxtyping import Array, Key


class Fork:
    """A module of which copies are called, all with the same random numbers.

    The streams of every copy start at the same keys: all elements of a frame see one dropout mask.
    `advance` then moves the streams of the module itself on, so that the next call has another.
    Whatever else a copy changes about itself is refused.

    Args:
      module: the module.
      args: its positional arguments; random streams among them are copied and moved on too.
      kwargs: its keyword arguments, likewise.
    """

    def __init__(self, module: nnx.Module, args: tuple, kwargs: dict):
        given = jax.tree.leaves((args, kwargs), is_leaf=_is_random)
        self._live = (module, [leaf for leaf in given if _is_random(leaf)])
        self._definition, self._state = nnx.split(self._live, graph=True)
        self._used: set[int] = set()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls a new copy of the module.

        Raises:
          ValueError: if the copy changes anything but its random streams.
        """
        copies = nnx.merge(self._definition, self._state, copy=True)
        for stream in _streams(copies):
            _restart(stream)
        starts = [stream.count.get_raw_value() for stream in _streams(copies)]
        module, given = copies
        streams = iter(given)
        args, kwargs = jax.tree.map(
            lambda leaf: next(streams) if _is_random(leaf) else leaf,
            (args, kwargs),
            is_leaf=_is_random,
        )
        outputs = module(*args, **kwargs)
        self._check_unchanged(module)
        for index, stream in enumerate(_streams(copies)):
            if stream.count.get_raw_value() is not starts[index]:
                self._used.add(index)
        return outputs

    def advance(self) -> None:
        """Moves the streams that copies have drawn from on, each by one."""
        for index, stream in enumerate(_streams(self._live)):
            if index in self._used:
                draw(stream)

    def _check_unchanged(self, module: nnx.Module) -> None:
        before, after = (
            {path: leaf for path, leaf in nnx.to_flat_state(state) if not _is_random(leaf)}
            for state in (nnx.state(self._live[0], graph=True), nnx.state(module, graph=True))
        )
        changed = [
            f"{'.'.join(map(str, path))} ({type(leaf).__name__})"
            for path, leaf in after.items()
            if path not in before or _differ(before[path], leaf)
        ]
        same = nnx.graphdef(module, graph=True) == nnx.graphdef(self._live[0], graph=True)
        if changed or not same:
            raise ValueError(
                f"{type(module).__name__} changes its state when it is called, here once for every "
                "element of the frame, so that no state after the call is the right one: "
                f"{', '.join(changed) or 'attributes that are no arrays'}. Call eval() on the module, "
                "use a layer without running statistics (LayerNorm for BatchNorm), or change the state "
                "outside the average"
            )


def draw(stream: nnx.RngStream) -> Key[Array, "..."]:
    """The next key of a stream.

    Raises:
      ValueError: if the stream belongs to a module that a transformed function closes over.
    """
    try:
        return stream()
    except errors.TraceContextError as error:
        raise ValueError(
            f"the random stream {stream.tag!r} cannot go on: its module is closed over by a function "
            "under jit, grad or vmap. Hand the module to that function as an argument, under nnx.jit, "
            "nnx.grad or nnx.vmap, or call eval() on it first"
        ) from error


def _restart(stream: nnx.RngStream) -> None:
    """Starts a stream anew, at the key that it would have given next."""
    fold = jax.random.fold_in
    for _ in stream.count.shape:
        fold = jax.vmap(fold)
    stream.key.set_value(fold(stream.key.get_value(), stream.count.get_value()))
    stream.count.set_value(jnp.zeros_like(stream.count.get_value()))


def _streams(tree: Any) -> Iterator[nnx.RngStream]:
    """All random streams beneath modules, each once, in a fixed order."""
    return (node for _, node in nnx.iter_graph(tree, graph=True) if isinstance(node, nnx.RngStream))


def _is_random(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Rngs | nnx.RngStream | nnx.RngState)


def _differ(before: Any, after: Any) -> bool:
    """Whether a variable was set: values may be traced, so they are compared as objects."""
    leaves, others = jax.tree.leaves(before), jax.tree.leaves(after)
    return len(leaves) != len(others) or any(
        one is not other for one, other in zip(leaves, others, strict=True)
    )
