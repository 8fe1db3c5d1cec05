"""The transform for evaluation: averages of a batch that cost no more than what has a weight."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from symjax_frames._batches import check_axes, take_apart
from symjax_frames._checks import check_callable, check_positive
from symjax_frames._frame_arguments import frame_of_arguments
from symjax_frames._pairs import FEW, Pairs, sum_pairs, weighted
from symjax_frames._shares import on_shares
from symjax_frames._sums import Outputs, Sums, merged, outputs_of, results_of, sums_of
from symjax_frames._terms import make_term
from symjax_frames._trees import argument_actions
from symjax_frames._types import Action, Frame
from symjax_frames._weighted_sum import check_frame, check_weights, make_average
from symjax_frames._wrapping import named_after
from symjax_frames.groups import QuadratureRule

_EACH = 2
"""Pairs of each example in the first round by default: as many as a cloud without ties has for O(3)."""

_COUNTED = 256
"""Examples whose frames are made at once to count their pairs."""


def batch_average[**P, R](
    fn: Callable[P, R],
    frame: Callable[..., Frame] | QuadratureRule,
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    frame_argnums: int | Sequence[int] = 0,
    in_axes: PyTree[int | None] = 0,
    capacity: int | None = None,
    spmd_axis_name: str | None = None,
    with_variance: bool = False,
) -> Callable[P, Any]:
    r"""Averages `fn` over the frame of each example, evaluating only elements that have a weight.

    Equals `jax.vmap(frame_average(fn, frame, ...), in_axes)` to rounding, with its derivatives. Most
    elements of a robust frame have the weight zero. Here the (example, element) pairs of the whole
    batch whose weight is not zero are gathered, `fn` is vmapped over them, and the terms are summed
    by their examples:

    Formula:
    $$\langle\phi\rangle(x_b) = \sum_{p\,:\,b_p = b} w_p\, \rho_{out}(g_p)\,
      \phi(\rho_{in}(g_p)^{-1} x_b), \qquad
      \{p\} = \{(b, g) : g \in F(x_b),\ w_g(x_b) \neq 0\}$$

    Whatever is not moved is gathered too, once for each pair. `capacity` is the number of pairs that
    the first round evaluates. If there are more, a `lax.cond` goes on to further rounds, each of a
    quarter of that number or of a few pairs. The result is never wrong: there are as many rounds as
    the pairs need. `batch_capacity` tells how many pairs a data set needs.

    Example:
      >>> import functools, jax, jax.numpy as jnp, symjax_frames as sf
      >>> energy = lambda x: jnp.sum(jnp.sin(x + 1))
      >>> clouds = jax.random.normal(jax.random.key(0), (10, 5, 2))
      >>> needed = sf.batch_capacity(sf.robust_frame, clouds)
      >>> energies = sf.batch_average(
      ...     energy, sf.robust_frame, in_actions=sf.points, out_actions=None, capacity=needed
      ... )
      >>> jax.jit(energies)(clouds).shape
      (10,)

    Args:
      fn: any callable on the arrays of one example.
      frame: as in `frame_average`.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      frame_argnums: as in `frame_average`.
      in_axes: where the batch is in the positional arguments, as in `jax.vmap`. Keyword arguments
        have it first.
      capacity: the number of pairs of the first round; by default two for each example, and at least
        four. If it is at least the number of examples times that of elements, all are evaluated at
        once.
      spmd_axis_name: an axis of the mesh of `jax.set_mesh` that the batch is split over. A batch that
        is split over Explicit axes tells it by itself. Each device chooses among the pairs of its
        examples, with its share of `capacity`, and all go on to another round if one has to: one
        all-reduce of a number.
      with_variance: as in `frame_average`.

    Returns:
      A pure function of the batch, with the name and docstring of `fn`, whose results have the axis
      of the batch first.

    Raises:
      ValueError: if `capacity` is no positive integer, or `in_axes` are not integers or `None`; when
        called, if `in_axes` do not fit the arguments, if the batch does not divide among the devices,
        and as in `frame_average`.

    Note:
      Weights that become zero must do so with the slope and the curvature zero, as those of the
      frames of this library do: what has no weight has no part in the derivatives. Where the weights
      of an example are all zero, its average is zero.

      Under another `jax.vmap`, over parameters, which the frames do not depend on, what decides
      about further rounds is not batched, and stays a conditional. Over inputs it is, and `jax.vmap`
      then evaluates all rounds always: let the batch have one axis, that of the examples. A packed
      batch of graphs is one example. Its element is evaluated if any graph has a weight for it.
    """
    select = frame_of_arguments("frame", frame, frame_argnums)
    average = make_average(
        fn, in_actions, out_actions, None, None, has_aux=False, with_variance=with_variance
    )
    in_actions, in_axes = argument_actions(in_actions), check_axes(in_axes)
    term = make_term(fn, in_actions, out_actions, has_aux=False)
    if capacity is not None:
        capacity = check_positive("capacity", capacity)

    def averaged(*args: Any, **kwargs: Any) -> Any:
        batch = take_apart(in_axes, args, kwargs)

        def of_share(arrays: list[Array], axis_name: str | None) -> PyTree[Array]:
            size = len(arrays[0])
            frames = jax.vmap(lambda entries: _checked(select(*batch.rebuild(entries))))(arrays)
            check_weights(frames.weights, batched=True)
            shares = 1 if axis_name is None else jax.lax.axis_size(axis_name)
            first = max(_EACH * size, FEW) if capacity is None else -(-capacity // shares)
            if first >= size * frames.weights.shape[1]:
                whole = jax.vmap(lambda frame, entries: average(frame, *batch.rebuild(entries)))
                return whole(frames, arrays)
            known: list[Outputs] = []

            def evaluate(pairs: Pairs) -> list[Sums]:
                dtypes: dict[str, Any] = {}

                def of_pair(element: Any, entries: list[Array]) -> PyTree[Array]:
                    return term(element, *batch.rebuild(entries), dtypes)[0]

                terms = jax.vmap(of_pair)(pairs.elements, pairs.entries)
                known.append(outputs_of(out_actions, terms, dtypes))
                return sums_of(known[0], terms, pairs, size, squares=with_variance)

            sums = sum_pairs(
                evaluate,
                lambda *parts: merged(known[0], *parts),
                frames,
                arrays,
                first,
                axis_name,
            )
            averages, variances = results_of(known[0], sums)
            return (averages, variances) if with_variance else averages

        return on_shares(of_share, batch.arrays, spmd_axis_name)

    return named_after(fn, averaged)


def batch_capacity(
    frame: Callable[..., Frame],
    *args: Any,
    in_axes: PyTree[int | None] = 0,
    batch_size: int | None = None,
) -> int:
    """How many pairs of an example and an element have a weight: the `capacity` of a batch.

    Args:
      frame: as in `batch_average`.
      *args: what it is called with, for all examples of a data set.
      in_axes: where the examples are in `args`, as in `batch_average`.
      batch_size: the number of examples in a batch, all by default. What is returned is enough for
        any batch of so many, whatever the order of the data.

    Returns:
      The number of pairs.

    Raises:
      ValueError: if `args` have no examples along `in_axes`, or `batch_size` is no positive integer.
    """
    check_callable("frame", frame)
    arrays, rebuild, size = take_apart(check_axes(in_axes), args, {})
    batch_size = size if batch_size is None else check_positive("batch_size", batch_size)

    def count(entries: list[Array]) -> Array:
        return jnp.sum(weighted(_checked(frame(*rebuild(entries)[0])).weights, 1))

    at_a_time = min(size, _COUNTED)
    counts = jax.jit(lambda arrays: jax.lax.map(count, arrays, batch_size=at_a_time))(arrays)
    return int(np.sort(np.asarray(counts))[-batch_size:].sum())


def _checked(frame: Any) -> Frame:
    check_frame(frame)
    return frame
