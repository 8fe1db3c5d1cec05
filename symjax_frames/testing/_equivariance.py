"""How far a function is from equivariant, as a number and as an assertion."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from symjax_frames._checks import check_positive
from symjax_frames._trees import argument_actions, check_actions, map_actions, moved_dtype
from symjax_frames._types import Action
from symjax_frames._weighted_sum import apply_action
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, check_group


def equivariance_error(
    fn: Callable[..., PyTree[Array]],
    *args: Any,
    group: Group,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    key: Key[Array, ""],
    num_samples: int = 8,
    **kwargs: Any,
) -> Float[Array, ""]:
    r"""The largest relative violation of equivariance over random group elements.

    Formula: $\max_g \max_{leaves} |\phi(\rho_{in}(g) x) - \rho_{out}(g) \phi(x)|_\infty /
    |\rho_{out}(g) \phi(x)|_\infty$.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.testing import equivariance_error
      >>> key = jax.random.key(0)
      >>> law = dict(group=sf.euclidean(3), in_actions=sf.points, out_actions=sf.points, key=key)
      >>> bool(equivariance_error(lambda x: 2 * x - x.mean(0, keepdims=True), jnp.eye(3), **law) < 1e-5)
      True
      >>> bool(equivariance_error(jnp.sin, jnp.eye(3), **law) > 0.1)
      True

    Args:
      fn: the function under test, called with `args` and `kwargs`.
      *args: its positional arguments.
      group: where the elements are drawn from; for E, SE and T with standard normal translations.
      in_actions: how the group moves `args`, a pytree prefix as in `frame_average`.
      out_actions: how it moves the outputs.
      key: draws the elements.
      num_samples: the number of elements.
      **kwargs: keyword arguments of `fn`, which do not move.

    Returns:
      The error, a scalar; around the machine epsilon times the conditioning for an equivariant
      function, of order one for a generic one.

    Raises:
      ValueError: if the actions do not fit the arguments or outputs.
    """
    check_group("group", group)
    check_positive("num_samples", num_samples)
    in_actions = argument_actions(in_actions)
    check_actions(out_actions, "out_actions")
    dtype = moved_dtype(in_actions, args)

    def move(g: Isometry, actions: PyTree, tree: PyTree, name: str) -> PyTree:
        return map_actions(
            lambda action, leaf, leaf_name: (
                leaf if action is None else apply_action(action.push, g, leaf, leaf_name)
            ),
            actions,
            tree,
            name,
        )

    def error(draw: Key[Array, ""]) -> Float[Array, ""]:
        g = group.draw(draw, dtype)
        moved_first = fn(*move(g, in_actions, args, "argument"), **kwargs)
        moved_last = move(g, out_actions, fn(*args, **kwargs), "output")
        leaves = zip(jax.tree.leaves(moved_first), jax.tree.leaves(moved_last), strict=True)
        return jnp.max(jnp.stack([_relative(a, b) for a, b in leaves]))

    return jnp.max(jax.vmap(error)(jax.random.split(key, num_samples)))


def _relative(value: Array, reference: Array) -> Float[Array, ""]:
    distance = jnp.max(jnp.abs(value - reference))
    size = jnp.maximum(jnp.max(jnp.abs(reference)), jnp.finfo(reference.dtype).tiny)
    return (distance / size).astype(float)


def assert_equivariant(
    fn: Callable[..., PyTree[Array]],
    *args: Any,
    group: Group,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    key: Key[Array, ""],
    num_samples: int = 8,
    tolerance: float | None = None,
    **kwargs: Any,
) -> None:
    """Asserts that `equivariance_error` is at most `tolerance`.

    Args:
      fn: as in `equivariance_error`.
      *args: as in `equivariance_error`.
      group: as in `equivariance_error`.
      in_actions: as in `equivariance_error`.
      out_actions: as in `equivariance_error`.
      key: as in `equivariance_error`.
      num_samples: as in `equivariance_error`.
      tolerance: the largest relative error allowed; 1000 machine epsilons of the data by default,
        room for a network's depth and a frame's conditioning.
      **kwargs: keyword arguments of `fn`.

    Raises:
      AssertionError: if the error is larger or not finite.
    """
    if tolerance is None:
        tolerance = 1000 * float(jnp.finfo(moved_dtype(in_actions, args)).eps)
    error = float(
        equivariance_error(
            fn,
            *args,
            group=group,
            in_actions=in_actions,
            out_actions=out_actions,
            key=key,
            num_samples=num_samples,
            **kwargs,
        )
    )
    if not error <= tolerance:
        raise AssertionError(
            f"relative equivariance error {error:.2e} under {group.name} exceeds {tolerance:.2e}"
        )
