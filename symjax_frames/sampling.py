"""The transform for training: an unbiased estimate of an average from a few of its elements."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from symjax_frames._checks import check_key, check_positive
from symjax_frames._frame_arguments import frame_of_arguments
from symjax_frames._sharding import on_own_mesh
from symjax_frames._trees import moved_dtype
from symjax_frames._types import Action, Frame
from symjax_frames._weighted_sum import check_weights, make_average
from symjax_frames._wrapping import named_after
from symjax_frames.groups import Group, QuadratureRule


def sampled_average[**P, R](
    fn: Callable[P, R],
    source: Callable[..., Frame] | QuadratureRule | Group,
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    frame_argnums: int | Sequence[int] = 0,
    num_samples: int = 1,
    spmd_axis_name: str | None = None,
    has_aux: bool = False,
) -> Callable[Concatenate[Key[Array, ""], P], R]:
    r"""An unbiased random estimate of the average of `fn`, at a fraction of its cost.

    Draws `num_samples` elements $g_k$ with probability $w_k(x)$ from a frame, or from the Haar
    measure of a compact group, and returns the mean of
    $(w_k / \mathrm{stop}(w_k))\, \rho_{out}(g_k)\, \phi(\rho_{in}(g_k)^{-1} x)$: value and gradient
    are unbiased, through the weights too. Train with samples, evaluate with the full average.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> energy = lambda x: jnp.sum(jnp.sin(x + 1))
      >>> sampled = sf.sampled_average(
      ...     energy, sf.orthogonal(3), in_actions=sf.vectors, out_actions=None, num_samples=4
      ... )
      >>> jax.jit(sampled)(jax.random.key(0), jnp.ones((5, 3))).shape
      ()

    Args:
      fn: any callable on arrays.
      source: a frame or a rule, as in `frame_average`, or a compact group, finite or not.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      frame_argnums: the arguments (after the key) a frame is called with.
      num_samples: the number of elements drawn, with replacement.
      spmd_axis_name: as in `frame_average`.
      has_aux: as in `frame_average`; `aux` has an entry for each element drawn.

    Returns:
      A pure function of `(key, *args)`, the PRNG key first, with the name and docstring of `fn`.

    Raises:
      ValueError: if the group is not compact, and as in `frame_average`.

    References:
      Duval et al., FAENet, ICML 2023, arXiv:2305.05577.
    """
    num_samples = check_positive("num_samples", num_samples)
    if not isinstance(source, Group):
        select = frame_of_arguments("source", source, frame_argnums)
    elif not source.compact:
        raise ValueError(
            f"source: {source.name} is not compact, so there is no uniform measure to draw from; "
            "center the data (translation frame) and use O or SO"
        )
    average = make_average(fn, in_actions, out_actions, None, spmd_axis_name, has_aux)

    def sampled(key: Key[Array, ""], *args: Any, **kwargs: Any) -> Any:
        check_key("the first argument of a sampled average", key)
        if isinstance(source, Group):
            dtype = moved_dtype(in_actions, args)
            keys = jax.random.split(key, num_samples)
            elements = jax.vmap(lambda one_key: source.draw(one_key, dtype))(keys)
            drawn = Frame(elements, jnp.full(num_samples, 1 / num_samples, dtype))
        else:
            drawn = _draw(key, select(args, kwargs), num_samples)
        return average(drawn, args, kwargs)

    return named_after(fn, sampled, key_first=True)


@on_own_mesh
def _draw(key: Key[Array, ""], frame: Frame, num_samples: int) -> Frame:
    """Elements drawn with their weights, a packed frame's independently for each graph."""
    constant = jax.lax.stop_gradient(frame.weights)
    check_weights(frame.weights, drawn=True)
    shape = (num_samples, *frame.weights.shape[1:])
    index = jax.random.categorical(key, jnp.log(constant), axis=0, shape=shape)

    def take(leaf: Array) -> Array:
        rows = index.reshape(index.shape + (1,) * (leaf.ndim - index.ndim))
        return jnp.take_along_axis(leaf, rows, axis=0)

    # The ratio is one, and its gradient is that of the logarithm of the probability of the draw.
    # Weights are divided after they are drawn: one of zero is never drawn, and must not divide.
    weights = take(frame.weights)
    ratio = weights / jax.lax.stop_gradient(weights)
    return Frame(jax.tree.map(take, frame.elements), ratio / num_samples)
