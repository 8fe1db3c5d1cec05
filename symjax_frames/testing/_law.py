"""The error of one law: a function at moved inputs, against its moved outputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from symjax_frames._checks import check_positive
from symjax_frames._terms import apply_action
from symjax_frames._trees import argument_actions, check_actions, map_actions, moved_dtype
from symjax_frames._types import Action
from symjax_frames.groups import Group, check_group
from symjax_frames.testing._terms import with_terms

_CANCELLED = 0.03
"""Of an output below this part of its terms, errors are relative to this part of the terms."""


class Law(NamedTuple):
    """What a function is to be equivariant to, and at how many elements that is tried."""

    group: Group
    in_actions: PyTree[Action | None]
    out_actions: PyTree[Action | None]
    num_samples: int


def check_law(group: Any, in_actions: Any, out_actions: Any, num_samples: Any) -> Law:
    """The law of checked parts."""
    check_group("group", group)
    check_positive("num_samples", num_samples)
    check_actions(out_actions, "out_actions")
    return Law(group, argument_actions(in_actions), out_actions, num_samples)


def law_error(
    fn: Callable[..., PyTree[Array]],
    args: tuple,
    kwargs: dict[str, Any],
    law: Law,
    key: Key[Array, ""],
    *,
    floored: bool,
    jit: Callable = jax.jit,
) -> Float[Array, ""]:
    """The largest relative error over all elements and outputs, by one compiled program.

    Args:
      fn: the function.
      args: its positional arguments. Those that move are arguments of the program, the others its
        constants, so that the function may look at their values.
      kwargs: its keyword arguments.
      law: what it is to be equivariant to.
      key: draws the elements.
      floored: whether errors are relative to at least a part of the terms that an output is the sum
        of.
      jit: how the program is compiled.
    """
    leaves = jax.tree.leaves(args)
    moved = {
        index: leaves[index]
        for index in _moved_actions(law, args)
        if isinstance(leaves[index], jax.Array | np.ndarray)
    }
    try:
        return jit(lambda key, moved: _error(fn, args, kwargs, law, key, moved, floored))(
            key, moved
        )
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        # It computes with values of what does not move, and decides by the result: jit would trace
        # that, and so would what measures the terms.
        return _error(fn, args, kwargs, law, key, moved, floored=False)


def _moved_actions(law: Law, args: tuple) -> dict[int, tuple[Action, str]]:
    """The action and the name of every leaf of the arguments that moves, by its index."""
    found: list[tuple[Action | None, str]] = []
    map_actions(
        lambda action, leaf, name: found.append((action, name)), law.in_actions, args, "argument"
    )
    return {
        index: (action, name) for index, (action, name) in enumerate(found) if action is not None
    }


def _error(
    fn: Callable[..., PyTree[Array]],
    args: tuple,
    kwargs: dict[str, Any],
    law: Law,
    key: Key[Array, ""],
    moved: dict[int, Any],
    floored: bool,
) -> Float[Array, ""]:
    dtype = moved_dtype(law.in_actions, args)
    keys = jax.random.split(key, law.num_samples)
    elements = jax.vmap(lambda draw: law.group.draw(draw, dtype))(keys)
    leaves, tree = jax.tree.flatten(args)

    def everywhere(action: Action, leaf: Any, name: str) -> Array:
        there = jax.vmap(lambda g: apply_action(action.push, g, leaf, name))(elements)
        return jnp.concatenate([jnp.asarray(leaf, there.dtype)[None], there])

    def evaluate(now: dict[int, Array]) -> PyTree[Array]:
        given = [now.get(index, leaf) for index, leaf in enumerate(leaves)]
        return fn(*jax.tree.unflatten(tree, given), **kwargs)

    def push(g: Any, outputs: PyTree[Array]) -> PyTree[Array]:
        return map_actions(
            lambda action, leaf, name: (
                leaf if action is None else apply_action(action.push, g, leaf, name)
            ),
            law.out_actions,
            outputs,
            "output",
        )

    # The input itself comes first: one program evaluates it and all that it is moved to.
    inputs = {
        index: everywhere(action, moved.get(index, leaves[index]), name)
        for index, (action, name) in _moved_actions(law, args).items()
    }
    summed = with_terms(evaluate) if floored else _without_terms(evaluate)
    outputs, terms = jax.vmap(summed, axis_size=law.num_samples + 1)(inputs)
    base = jax.tree.map(lambda leaf: leaf[0], outputs)
    expected = jax.vmap(lambda g: push(g, base))(elements)
    found = zip(*map(jax.tree.leaves, (outputs, expected, terms)), strict=True)
    return jnp.max(jnp.stack([_relative(*leaves) for leaves in found]))


def _without_terms(fn: Callable[[Any], PyTree]) -> Callable[[Any], tuple[PyTree, PyTree]]:
    def both(now: Any) -> tuple[PyTree, PyTree]:
        outputs = fn(now)
        return outputs, jax.tree.map(lambda leaf: jnp.zeros_like(jnp.abs(leaf)), outputs)

    return both


def _relative(output: Array, expected: Array, terms: Array) -> Float[Array, ""]:
    def largest(rows: Array) -> Array:
        return jnp.max(jnp.abs(rows.reshape(len(rows), -1)), axis=1)

    size = jnp.maximum(largest(expected), jnp.finfo(expected.dtype).tiny)
    least = _CANCELLED * jnp.maximum(largest(terms[1:]), largest(terms[:1]))
    return jnp.max(largest(output[1:] - expected) / jnp.maximum(size, least)).astype(float)
