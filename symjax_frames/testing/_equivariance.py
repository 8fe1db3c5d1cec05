"""How far a function is from equivariant, as a number and as an assertion."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from symjax_frames._trees import moved_dtype
from symjax_frames._types import Action
from symjax_frames.groups import Group
from symjax_frames.testing._law import check_law, law_error
from symjax_frames.testing._quick import quick_jit


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
        A `packed_group` moves every graph of a packed batch by an element of its own.
      in_actions: how the group moves `args`, a pytree prefix as in `frame_average`.
      out_actions: how it moves the outputs.
      key: draws the elements.
      num_samples: the number of elements.
      **kwargs: keyword arguments of `fn`, which do not move.

    Returns:
      The error, a scalar; around the machine epsilon times the conditioning for an equivariant
      function, of order one for a generic one, and for one whose output vanishes up to rounding.

    Raises:
      ValueError: if the actions do not fit the arguments or outputs.
    """
    law = check_law(group, in_actions, out_actions, num_samples)
    return law_error(fn, args, kwargs, law, key, floored=False)


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
    r"""Asserts that a function is equivariant, to `tolerance`.

    The error is the `equivariance_error`, but for an output that is a sum whose terms cancel: what
    is left of them may be rounding, whose relative error means nothing. Errors are therefore
    relative to at least $0.03 \max \sum_i |t_i|$, where the output is $\sum_i t_i$. So a zero is
    equivariant, and a small function that is no such sum has to be as exact as a large one.

    An average that vanishes has lost its function, often by parity. Over a group with reflections
    (O, E), an invariant average keeps of a network of points only the part that an inversion
    leaves alone. An odd network, such as layers of `tanh` without biases, has no such part, and its
    average is zero: add a bias, or average over the rotations (SO, SE) alone.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.testing import assert_equivariant
      >>> odd = sf.frame_average(
      ...     lambda x: jnp.sum(jnp.tanh(x)), sf.pca_frame, in_actions=sf.points, out_actions=None
      ... )
      >>> law = dict(group=sf.euclidean(2), in_actions=sf.points, out_actions=None)
      >>> cloud = jax.random.normal(jax.random.key(0), (5, 2))
      >>> assert_equivariant(odd, cloud, key=jax.random.key(1), **law)

    Args:
      fn: as in `equivariance_error`.
      *args: as in `equivariance_error`.
      group: as in `equivariance_error`.
      in_actions: as in `equivariance_error`.
      out_actions: as in `equivariance_error`.
      key: as in `equivariance_error`.
      num_samples: the number of elements. One call with many costs less than many calls: each call
        compiles.
      tolerance: the largest relative error allowed; 1000 machine epsilons of the data by default,
        room for a network's depth and a frame's conditioning.
      **kwargs: keyword arguments of `fn`.

    Raises:
      AssertionError: if the error is larger or not finite.
      ValueError: as `equivariance_error`.
    """
    law = check_law(group, in_actions, out_actions, num_samples)
    if tolerance is None:
        tolerance = 1000 * float(jnp.finfo(moved_dtype(law.in_actions, args)).eps)
    error = float(law_error(fn, args, kwargs, law, key, floored=True, jit=quick_jit))
    if not error <= tolerance:
        raise AssertionError(
            f"relative equivariance error {error:.2e} under {group.name} exceeds {tolerance:.2e}"
        )
