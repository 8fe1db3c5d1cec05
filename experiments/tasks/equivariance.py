"""Equivariance errors of the model of a task, and what an evaluation keeps of them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from symjax_frames import Group
from symjax_frames.testing import equivariance_error

_DRAWS = 4
"""Elements of a group that a model is tried on, for each example."""


def equivariance_errors(
    fn: Callable[..., Array],
    inputs: Sequence[Array],
    keys: Key[Array, " examples"],
    groups: Mapping[str, Group],
    **actions: Any,
) -> dict[str, Float[Array, " examples"]]:
    """The relative equivariance error of a function on each example, the worst of a few elements.

    Args:
      fn: a function of one example.
      inputs: its arguments, each with a leading axis of examples.
      keys: draw the group elements.
      groups: where they are drawn from, by name.
      actions: `in_actions` and `out_actions`, how an element moves the arguments and the result.

    Returns:
      The errors by the name of the group.
    """

    def error(key: Key[Array, ""], *example: Array, group: Group) -> Float[Array, ""]:
        law = {"group": group, "key": key, "num_samples": _DRAWS, **actions}
        return equivariance_error(fn, *example, **law)

    return {
        name: jax.vmap(functools.partial(error, group=group))(keys, *inputs)
        for name, group in groups.items()
    }


def median_and_worst(
    errors: Mapping[str, Float[Array | np.ndarray, " examples"]],
) -> dict[str, float]:
    """The median of errors under their own name, and the largest under that name and "worst"."""
    kept = {}
    for name, values in errors.items():
        kept[name] = float(np.median(values))
        kept[f"{name} worst"] = float(np.max(values))
    return kept
