"""Learned canonicalization: the frame of the group elements that a network scores highest."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._checks import check_positive, describe
from symjax_frames._matrices import at_least_float32
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, check_group

ScoredKind = Literal["hard", "soft", "straight_through"]
"""How the elements of a scored frame get their weights."""


@on_own_mesh
def scored_frame(
    scores: Float[Array, " order"],
    group: Group,
    *,
    kind: ScoredKind = "hard",
    capacity: int = 1,
) -> Frame:
    r"""Frame of the elements of a finite group that an equivariant network scores highest.

    The scores must move with the input, $s(g x)[g h] = s(x)[h]$: one channel of a group-equivariant
    network, its positions pooled and its axis of group elements kept. Scores tie with the best that
    differ from it by at most 32 machine epsilons of the largest $|s|$; then

    * `"hard"` keeps the `capacity` best elements, with equal weights on those that tie and 0 on the
      others. The frame is constant: no gradient reaches the scores.
    * `"soft"` weights all elements by $\mathrm{softmax}(s)$.
    * `"straight_through"` has all elements, the value of `"hard"` with full capacity and the
      gradient of `"soft"`. It needs `frame_average`: `sampled_average` never draws an element of
      weight 0, and so loses its part of the gradient.

    Scores tie where the input is symmetric: if $k x = x$ then $s(x)[k h] = s(x)[h]$. The tied
    elements then give the same canonical input, $(k h)^{-1} x = h^{-1} x$, so one element (one
    evaluation) is exact for invariant outputs. Equivariant outputs of symmetric inputs need all of
    them: `capacity` must be at least the number of symmetries of an input; `group.order` is always
    enough.

    Example:
      >>> import jax.numpy as jnp, symjax_frames as sf
      >>> frame = sf.scored_frame(jnp.array([0.0, 3.0, 1.0, 3.0]), sf.cyclic(4), capacity=4)
      >>> sorted(frame.weights.tolist())
      [0.0, 0.0, 0.5, 0.5]

    A pretrained `cnn` behind a learned canonicalization. To train either, take
    `symjax_frames.nn.averaged`, with a module that returns this frame:

    ```python
    invariant = sf.frame_average(
        cnn,
        lambda image: sf.scored_frame(score_network(image), group),
        in_actions=sf.images,
        out_actions=None,
    )
    ```

    Args:
      scores: one score per element, in the order of `group`.
      group: a finite group.
      kind: `"hard"`, `"soft"` or `"straight_through"`.
      capacity: the number of elements that `"hard"` keeps.

    Returns:
      A frame of `capacity` elements, or of `group.order` for the other kinds, of at least 32 bits.

    Raises:
      ValueError: if the group is infinite, `scores` is no floating vector with one entry per
        element, `kind` is none of the three, or `capacity` is not between 1 and the order of the
        group, or not 1 for a kind that keeps all elements.

    References:
      Kaba et al., Equivariance with Learned Canonicalization Functions, ICML 2023,
      arXiv:2211.06489.
      Mondal et al., Equivariant Adaptation of Large Pretrained Models, NeurIPS 2023,
      arXiv:2310.01647.
    """
    _check(scores, group, kind, capacity)
    rounding = float(jnp.finfo(scores.dtype).eps)
    scores = at_least_float32(scores)
    elements = group.cast(scores.dtype)
    shared = _shared(scores, 32 * rounding)
    if kind == "hard":
        # A sort is done by every device on its own, where a top_k gathers a batch that is split.
        order = jnp.argsort(jax.lax.stop_gradient(scores), descending=True)
        kept = order[:capacity]
        weights = shared[kept] / jnp.sum(shared[kept])
        return Frame(Isometry(elements.linear[kept], elements.shift[kept]), weights)
    soft = jax.nn.softmax(scores)
    if kind == "soft":
        return Frame(elements, soft)
    # Added in this order, the value equals that of the hard weights to the bit.
    return Frame(elements, shared + (soft - jax.lax.stop_gradient(soft)))


def prior_loss(scores: Float[Array, "*batch order"]) -> Float[Array, "*batch"]:
    r"""The loss that teaches a canonicalization to leave upright inputs as they are.

    Formula: $-\log \mathrm{softmax}(s)[e]$ with $e$ the identity, the first element of every group.
    Added to the task's loss on upright data, it makes a canonicalization return what a pretrained
    network was trained on.

    Args:
      scores: the scores of the group's elements on the last axis.

    Returns:
      The loss of each input, of at least 32 bits.

    Raises:
      ValueError: if `scores` is no floating array with at least one axis.

    References:
      Mondal et al., Equivariant Adaptation of Large Pretrained Models, NeurIPS 2023,
      arXiv:2310.01647.
    """
    if getattr(scores, "ndim", 0) < 1 or not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(f"scores must be floating of shape (..., order), got {describe(scores)}")
    return -jax.nn.log_softmax(at_least_float32(scores), axis=-1)[..., 0]


def identity_rate(scores: Float[Array, "batch order"]) -> Float[Array, ""]:
    """The share of a batch that canonicalization leaves as it is.

    Formula: the mean over the batch of whether no score exceeds that of the identity, element 0.

    Args:
      scores: the scores of the group's elements, one row per input.

    Raises:
      ValueError: if `scores` is no floating matrix.
    """
    if getattr(scores, "ndim", 0) != 2 or not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(f"scores must be floating of shape (batch, order), got {describe(scores)}")
    scores = at_least_float32(scores)
    return jnp.mean(scores[:, 0] >= jnp.max(scores, axis=-1), dtype=scores.dtype)


def _shared(scores: Float[Array, " order"], tolerance: float) -> Float[Array, " order"]:
    """Equal weights on the elements that tie with the best one, without a gradient."""
    scores = jax.lax.stop_gradient(scores)
    margin = tolerance * jnp.max(jnp.abs(scores))
    # Halved: the difference of two finite scores may overflow.
    distance = jnp.max(scores) / 2 - scores / 2
    tied = (distance <= margin / 2).astype(scores.dtype)
    return tied / jnp.sum(tied)


def _check(scores: Array, group: Group, kind: str, capacity: int) -> None:
    check_group("group", group)
    if group.order is None:
        raise ValueError(f"group must be finite to have one score per element, got {group.name}")
    shape = getattr(scores, "shape", None)
    if shape != (group.order,) or not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(
            f"scores must be floating of shape ({group.order},), one for each element of "
            f"{group.name}, got {describe(scores)}; use jax.vmap for a batch"
        )
    if kind not in get_args(ScoredKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(ScoredKind))}, got {kind!r}")
    check_positive("capacity", capacity)
    if capacity > group.order:
        raise ValueError(
            f"capacity must be at most {group.order}, the order of {group.name}, got {capacity}"
        )
    if kind != "hard" and capacity != 1:
        raise ValueError(
            f"capacity={capacity} limits the elements of kind 'hard'; kind {kind!r} keeps all"
        )
