"""Which elements of a frame or of a group a sample has: independent, systematic, or orbits."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from symjax_frames._checks import repr_or_call_hint
from symjax_frames._matrices import at_least_float32
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.frames import close
from symjax_frames.groups import Group, inversion, right_cosets

Draws = Literal["independent", "systematic", "antithetic"]
"""How the elements of a sample depend on each other."""


class Plan(NamedTuple):
    """What a sample is made of.

    Attributes:
      bases: how many elements are drawn.
      systematic: whether one number draws all of them.
      antithetic: whether each of them comes with its negative.
      orbit: the group whose orbit each of them comes with.
    """

    bases: int
    systematic: bool = False
    antithetic: bool = False
    orbit: Group | None = None


def plan_of(draws: Draws | Group, num_samples: int, source: object) -> Plan:
    """What a sample of `num_samples` elements of a source is made of.

    Raises:
      ValueError: if `draws` is none of the words and no finite group, `num_samples` no multiple of
        the elements that come together, or the source, if it is a group, cannot be drawn from so.
    """
    infinite = isinstance(source, Group) and source.elements is None
    if draws == "independent":
        return Plan(num_samples)
    if draws == "systematic":
        if infinite:
            raise ValueError(
                f"draws='systematic' steps through a list of elements, and {source} is infinite; give "
                "a finite subgroup as draws, whose orbits are drawn"
            )
        return Plan(num_samples, systematic=True)
    if draws != "antithetic" and (not isinstance(draws, Group) or draws.elements is None):
        words = ", ".join(map(repr, get_args(Draws)))
        raise ValueError(
            f"draws must be one of {words}, or a finite Group such as signs(3), got "
            f"{repr_or_call_hint(draws, 'a group')}"
        )
    order = draws.order if isinstance(draws, Group) else 2
    assert order is not None
    if num_samples % order:
        raise ValueError(
            f"num_samples must be a multiple of {order}, the elements that draws={draws!r} takes "
            f"together, got {num_samples}"
        )
    if isinstance(source, Group):
        _check_subgroup(source, draws if isinstance(draws, Group) else inversion(source.dim))
    if isinstance(draws, Group):
        return Plan(num_samples // order, not infinite, orbit=draws)
    return Plan(num_samples // order, not infinite, antithetic=True)


def _check_subgroup(group: Group, subgroup: Group) -> None:
    if group.elements is not None:
        right_cosets(group, subgroup, "draws")
        return
    matrices = np.asarray(subgroup.elements.linear)  # type: ignore[union-attr]
    # Of the infinite groups that have a uniform measure only SO has no reflections.
    reflects = group.name.startswith("SO") and (np.linalg.det(matrices) < 0).any()
    if subgroup.dim != group.dim or reflects:
        advice = ""
        if reflects:
            advice = f"; signs({group.dim}, proper=True) has half turns, which SO has too"
        raise ValueError(f"draws must be a subgroup of {group.name}, got {subgroup.name}{advice}")


@on_own_mesh
def draw_elements(key: Key[Array, ""], frame: Frame, plan: Plan) -> Frame:
    """Elements drawn with their weights, a packed frame's independently for each graph.

    Returns:
      They, each with the weight one over their number, whose derivative is that of the logarithm
      of the weight it was drawn with; NaN if a weight was negative or NaN.
    """
    constant = jax.lax.stop_gradient(frame.weights)
    graphs = constant.shape[1:]
    if plan.systematic:
        offset = jax.random.uniform(key, graphs, at_least_float32(constant).dtype)
        index = systematic_draws(offset, constant, plan.bases)
    else:
        shape = (plan.bases, *graphs)
        index = jax.random.categorical(key, jnp.log(constant), axis=0, shape=shape)

    def take(leaf: Array) -> Array:
        rows = index.reshape(index.shape + (1,) * (leaf.ndim - index.ndim))
        return jnp.take_along_axis(leaf, rows, axis=0)

    # The ratio is one, and its gradient is that of the logarithm of the probability of the draw.
    # Weights are divided after they are drawn: one of zero is never drawn, and must not divide.
    weights = take(frame.weights)
    # Where there is no weight at all, as of a graph that is padding, none is handed on.
    nothing = weights == 0
    ratio = weights / jax.lax.stop_gradient(jnp.where(nothing, 1, weights))
    # No element can be drawn with weights that are negative, or no numbers: an average would look
    # like one of others. Those that are known are refused before.
    drawable = jnp.min(constant, axis=0) >= 0
    ratio = jnp.where(drawable[None], ratio, jnp.nan)
    return Frame(jax.tree.map(take, frame.elements), ratio / plan.bases)


def systematic_draws(
    offset: Float[Array, "*graphs"], weights: Shaped[Array, "frame *graphs"], count: int
) -> Int[Array, "count *graphs"]:
    r"""Where equidistant marks fall among the elements, laid out in a row by their weights.

    Formula: the elements $k_j$ with $\sum_{i < k_j} w_i \le (u + j) / n < \sum_{i \le k_j} w_i$ for
    $j = 0, \dots, n - 1$. For a uniform $u$ in $[0, 1)$, the element $i$ is drawn $n w_i$ times in
    the mean, and in every draw as often as that number, rounded down or up.

    Args:
      offset: $u$, one number for all draws of a graph.
      weights: $w$, not negative.
      count: $n$.
    """
    weights = at_least_float32(weights)
    ends = jnp.cumsum(weights, axis=0)
    # Sums of different order round differently: an element of no weight must not get any of that.
    ends = jnp.where(weights == 0, -1, ends)
    total = jnp.max(ends, axis=0)
    steps = jax.lax.broadcasted_iota(offset.dtype, (count, *offset.shape), 0)
    marks = (steps + offset[None]) * (total / count)[None]
    marks = jnp.minimum(marks, jnp.nextafter(total, jnp.zeros_like(total))[None])
    # What is not a number is no larger either: the first element is drawn.
    return jnp.argmax(~(ends[None] <= marks[:, None]), axis=1)


def with_orbits(drawn: Frame, plan: Plan) -> Frame:
    """Elements with all that come together with them, `g h` for each `h` of a group.

    Raises:
      ValueError: if they are no isometries, or of another dimension than the group.
    """
    if plan.orbit is None and not plan.antithetic:
        return drawn
    if not isinstance(drawn.elements, Isometry):
        raise ValueError(
            "draws of orbits multiply elements, which must be of the type Isometry, got "
            f"{type(drawn.elements).__name__}; draws='systematic' takes elements of any kind"
        )
    group = inversion(drawn.elements.shift.shape[-1]) if plan.orbit is None else plan.orbit
    return close(drawn, group)
