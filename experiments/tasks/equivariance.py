"""Equivariance errors of the model of a task, and what an evaluation keeps of them."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from symjax_frames import Action, Group

_DRAWS = 4
"""Elements of a group that a model is tried on, for each example."""


def equivariance_errors(
    predict: Callable[..., Array],
    inputs: Sequence[Array],
    keys: Key[Array, " examples"],
    groups: Mapping[str, Group],
    *,
    in_actions: Sequence[Action | None],
    out_actions: Action | None,
    floor: float = 0.0,
) -> dict[str, Float[np.ndarray, " examples"]]:
    r"""The relative equivariance error of a model on each example, the worst of a few elements.

    Formula: $\max_g |\phi(g x) - \rho(g) \phi(x)|_\infty / \max(|\rho(g) \phi(x)|_\infty, c)$, as
    `symjax_frames.testing.equivariance_error`, with calls of one compiled program: to compile a
    symmetrized model takes longer than to run it.

    Args:
      predict: the model, compiled, from batches to an array with one row an example.
      inputs: its arguments, each with a leading axis of examples.
      keys: draw the group elements.
      groups: where they are drawn from, by name.
      in_actions: how an element moves a row of each argument, not at all where it is `None`.
      out_actions: how it moves a row of the prediction.
      floor: $c$, so that an output near zero, which is arbitrary, makes no error large.

    Returns:
      The errors by the name of the group.
    """
    still = predict(*inputs)
    return {
        name: _worst(predict, tuple(inputs), still, keys, group, (*in_actions, out_actions), floor)
        for name, group in groups.items()
    }


def _worst(
    predict: Callable[..., Array],
    inputs: tuple[Array, ...],
    still: Array,
    keys: Key[Array, " examples"],
    group: Group,
    actions: Sequence[Action | None],
    floor: float,
) -> Float[np.ndarray, " examples"]:
    moving = next(row for row, action in zip(inputs, actions, strict=False) if action is not None)

    @jax.jit
    def move(draw: Array | np.int32, rows: tuple[Array, ...]) -> list[Array]:
        def move_one(key: Key[Array, ""], *row: Array) -> list[Array]:
            element = group.draw(jax.random.fold_in(key, draw), moving.dtype)
            return [
                leaf if action is None else action.push(element, leaf)
                for action, leaf in zip(actions, row, strict=True)
            ]

        return jax.vmap(move_one)(keys, *rows)

    def largest(values: Array | np.ndarray) -> Float[np.ndarray, " examples"]:
        return np.max(np.abs(np.asarray(values)).reshape(len(values), -1), axis=1)

    worst = np.zeros(len(still))
    for draw in range(_DRAWS):
        *moved, expected = move(np.int32(draw), (*inputs, still))
        distance = largest(np.asarray(predict(*moved)) - np.asarray(expected))
        size = np.maximum(largest(expected), max(floor, float(jnp.finfo(still.dtype).tiny)))
        worst = np.maximum(worst, distance / size)
    return worst


def median_and_worst(
    errors: Mapping[str, Float[Array | np.ndarray, " examples"]],
) -> dict[str, float]:
    """The median of errors under their own name, and the largest under that name and "worst"."""
    kept = {}
    for name, values in errors.items():
        kept[name] = float(np.median(values))
        kept[f"{name} worst"] = float(np.max(values))
    return kept
