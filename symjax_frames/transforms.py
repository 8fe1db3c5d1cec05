"""The transforms: a function becomes its average over a frame, a group, or samples of either."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from symjax_frames._checks import check_callable, check_key, check_positive
from symjax_frames._trees import moved_dtype
from symjax_frames._types import Action, Frame
from symjax_frames._weighted_sum import make_average
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, check_group, right_cosets


def frame_average(
    fn: Callable[..., PyTree[Array]],
    frame: Callable[..., Frame],
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    frame_argnums: int | Sequence[int] = 0,
    batch_size: int | None = None,
    spmd_axis_name: str | None = None,
) -> Callable[..., PyTree[Array]]:
    r"""Makes `fn` exactly equivariant by averaging it over a frame of its input.

    Formula:
    $$\langle\phi\rangle_F(x) = \sum_{g \in F(x)} w_g(x)\, \rho_{out}(g)\, \phi(\rho_{in}(g)^{-1} x)$$

    What the group does not move is not replicated: `fn` is vmapped over the elements with
    everything else closed over, so whatever depends only on the unmoved arguments is computed once.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> def step(position, velocity, charge):
      ...     return position + jnp.sin(velocity) * charge[:, None]
      >>> step = sf.frame_average(
      ...     step, sf.pca_frame, in_actions=(sf.points, sf.vectors, None), out_actions=sf.points
      ... )
      >>> cloud = jax.random.normal(jax.random.key(0), (2, 5, 3))
      >>> jax.jit(step)(cloud[0], cloud[1], jnp.ones(5)).shape
      (5, 3)

    Args:
      fn: any callable on arrays: a plain function, a bound Linen `apply`, an NNX module. What it
        closes over is a constant, so parameters are trained as an argument with the action `None`,
        or by `symjax_frames.nn.averaged`.
      frame: an equivariant map from the arguments selected by `frame_argnums` to a `Frame`; bind
        its options with `functools.partial(pca_frame, group="SE")`.
      in_actions: how the group moves the positional arguments: a pytree prefix of their tuple, as
        `in_axes` of `jax.vmap`, whose leaves are actions, or `None` for what it leaves alone.
        Keyword arguments are never moved.
      out_actions: how it moves the outputs, a pytree prefix of what `fn` returns; `None` makes the
        output invariant.
      frame_argnums: the positional arguments `frame` is called with, in this order.
      batch_size: the number of elements evaluated at a time, to bound memory; all by default.
      spmd_axis_name: the mesh axis the elements are sharded over, as in `jax.vmap`.

    Returns:
      A pure function with the signature of `fn`.

    Raises:
      ValueError: if an option is not of its kind; when called, if the actions do not fit the
        arguments or outputs, or move a leaf that is no floating array. The message names the leaf.

    References:
      Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022,
      arXiv:2110.03336.
    """
    argnums = _check_argnums(frame_argnums)
    check_callable("frame", frame)
    average = make_average(fn, in_actions, out_actions, batch_size, spmd_axis_name)

    def averaged(*args: Any, **kwargs: Any) -> PyTree[Array]:
        return average(frame(*_select(args, argnums)), args, kwargs)

    return averaged


def group_average(
    fn: Callable[..., PyTree[Array]],
    group: Group,
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    already: Group | None = None,
    batch_size: int | None = None,
    spmd_axis_name: str | None = None,
) -> Callable[..., PyTree[Array]]:
    r"""Makes `fn` exactly equivariant to a finite group by averaging it over the whole group.

    Formula:
    $$\langle\phi\rangle_G(x) = \frac{1}{|G|} \sum_{g \in G} \rho_{out}(g)\, \phi(\rho_{in}(g)^{-1} x)$$

    Example:
      >>> import jax.numpy as jnp, symjax_frames as sf
      >>> corner = lambda x: jnp.exp(x[0, 0])
      >>> invariant = sf.group_average(corner, sf.cyclic(4), in_actions=sf.vectors, out_actions=None)
      >>> square = jnp.array([[1.0, 2.0]])
      >>> bool(jnp.isclose(invariant(square), invariant(square[:, ::-1] * jnp.array([[-1.0, 1.0]]))))
      True

    A network that is equivariant to a subgroup `H` needs one element of each coset `g H`: a network
    of C4 convolutions is averaged over C16 by four evaluations.

    Args:
      fn: any callable on arrays.
      group: a finite group, such as `dihedral(4)` or `icosahedral()`.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      already: a subgroup of `group` that `fn` is equivariant to; the trivial one by default. Not
        verified of `fn`.
      batch_size: as in `frame_average`.
      spmd_axis_name: as in `frame_average`.

    Returns:
      A pure function with the signature of `fn`.

    Raises:
      ValueError: if the group is infinite (use `sampled_average`), `already` is no subgroup of
        it, and as in `frame_average`.
    """
    check_group("group", group)
    if group.elements is None:
        raise ValueError(
            f"group {group.name} is infinite and cannot be summed over; use sampled_average, or "
            "frame_average with a frame"
        )
    # One element from each right coset; its inverse is one from each left coset.
    kept = None if already is None else [row[0] for row in right_cosets(group, already, "already")]
    average = make_average(fn, in_actions, out_actions, batch_size, spmd_axis_name)

    def averaged(*args: Any, **kwargs: Any) -> PyTree[Array]:
        dtype = moved_dtype(in_actions, args)
        elements = group.cast(dtype)
        if kept is not None:
            elements = Isometry(
                elements.linear[np.array(kept)], elements.shift[np.array(kept)]
            ).inverse()
        count = len(elements.linear)
        return average(Frame(elements, jnp.full(count, 1 / count, dtype)), args, kwargs)

    return averaged


def sampled_average(
    fn: Callable[..., PyTree[Array]],
    source: Callable[..., Frame] | Group,
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    frame_argnums: int | Sequence[int] = 0,
    num_samples: int = 1,
) -> Callable[..., PyTree[Array]]:
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
      source: a frame, as in `frame_average`, or a compact group, finite or not.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      frame_argnums: the arguments (after the key) a frame is called with.
      num_samples: the number of elements drawn, with replacement.

    Returns:
      A pure function of `(key, *args)`, the PRNG key first.

    Raises:
      ValueError: if the group is not compact, and as in `frame_average`.

    References:
      Duval et al., FAENet, ICML 2023, arXiv:2305.05577.
    """
    argnums = _check_argnums(frame_argnums)
    check_positive("num_samples", num_samples)
    if not isinstance(source, Group):
        check_callable("source", source)
    elif not source.compact:
        raise ValueError(
            f"source: {source.name} is not compact, so there is no uniform measure to draw from; "
            "center the data (translation frame) and use O or SO"
        )
    average = make_average(fn, in_actions, out_actions, None, None)

    def sampled(key: Key[Array, ""], *args: Any, **kwargs: Any) -> PyTree[Array]:
        check_key("the first argument of a sampled average", key)
        if isinstance(source, Group):
            dtype = moved_dtype(in_actions, args)
            keys = jax.random.split(key, num_samples)
            elements = jax.vmap(lambda one_key: source.draw(one_key, dtype))(keys)
            drawn = Frame(elements, jnp.full(num_samples, 1 / num_samples, dtype))
        else:
            drawn = _draw(key, source(*_select(args, argnums)), num_samples)
        return average(drawn, args, kwargs)

    return sampled


def _draw(key: Key[Array, ""], frame: Frame, num_samples: int) -> Frame:
    """Elements drawn with their weights, a packed frame's independently for each graph."""
    constant = jax.lax.stop_gradient(frame.weights)
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


def _check_argnums(argnums: int | Sequence[int]) -> tuple[int, ...]:
    selected = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    if not all(isinstance(index, int) and index >= 0 for index in selected):
        raise ValueError(f"frame_argnums must be non-negative integers, got {argnums!r}")
    return selected


def _select(args: tuple, argnums: tuple[int, ...]) -> list[Any]:
    if any(index >= len(args) for index in argnums):
        raise ValueError(
            f"frame_argnums={argnums} selects an argument beyond the {len(args)} positional ones; "
            "the arguments of the frame cannot be given by keyword"
        )
    return [args[index] for index in argnums]
