"""Sums of weighted terms by examples, and their squared distances from the mean, merged of parts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from symjax_frames._matrices import at_least_float32
from symjax_frames._pairs import Pairs, sum_by_example
from symjax_frames._trees import map_actions
from symjax_frames._types import Action
from symjax_frames._weighted_sum import scaled


class Outputs(NamedTuple):
    """What a function returns, leaf by leaf.

    Attributes:
      tree: its structure.
      actions: how each leaf is moved.
      names: what each is called.
      dtypes: that of each.
    """

    tree: Any
    actions: list[Action | None]
    names: list[str]
    dtypes: list[Any]


class Sums(NamedTuple):
    """Sums over some terms of every example, at least in single precision.

    Attributes:
      weights: of the weights.
      totals: of the weighted terms, one array a leaf.
      squares: of the weighted squares of their distances from their own mean; none if not asked for.
    """

    weights: Array
    totals: list[Array]
    squares: list[Array]


def outputs_of(actions: PyTree, terms: PyTree[Array], dtypes: dict[str, Any]) -> Outputs:
    """The leaves of terms with the actions on them, and the dtypes that `term` has noted."""
    found: list[tuple[Action | None, str]] = []
    map_actions(lambda action, _, name: found.append((action, name)), actions, terms, "output")
    names = [name for _, name in found]
    return Outputs(
        jax.tree.structure(terms), [action for action, _ in found], names, [*map(dtypes.get, names)]
    )


def sums_of(
    outputs: Outputs, terms: PyTree[Array], pairs: Pairs, size: int, *, squares: bool
) -> list[Sums]:
    """The sums of terms, one a pair, by their examples.

    For squares those of weights above zero, and those of weights below it by their sizes: of both
    together, some may have no mean, as their weights add up to zero.
    """
    weights = at_least_float32(pairs.weights)
    parts = [jnp.maximum(weights, 0), jnp.maximum(-weights, 0)] if squares else [weights]
    return [
        _sums(outputs, terms, pairs._replace(weights=part), size, squares=squares) for part in parts
    ]


def _sums(
    outputs: Outputs, terms: PyTree[Array], pairs: Pairs, size: int, *, squares: bool
) -> Sums:
    found = Sums(sum_by_example(pairs.weights, pairs.examples, size), [], [])
    for action, name, leaf in zip(
        outputs.actions, outputs.names, jax.tree.leaves(terms), strict=True
    ):
        summands = scaled(action, pairs.weights, leaf, name)
        total = sum_by_example(summands, pairs.examples, size)
        found.totals.append(total)
        if squares:
            mean = scaled(action, _inverse(found.weights), total, name)
            away = leaf.astype(total.dtype) - mean[jnp.minimum(pairs.examples, size - 1)]
            # Weighted before it is squared: what has no weight may be too large for that.
            square = jnp.real(scaled(action, pairs.weights, away, name) * jnp.conj(away))
            found.squares.append(sum_by_example(square, pairs.examples, size))
    return found


def merged(outputs: Outputs, first: list[Sums], second: list[Sums]) -> list[Sums]:
    """The sums over the terms of both."""
    return [_merged(outputs, *parts) for parts in zip(first, second, strict=True)]


def _merged(outputs: Outputs, first: Sums, second: Sums) -> Sums:
    r"""The sums over the terms of both.

    Formula: $M = M_1 + M_2 + \frac{w_1 w_2}{w_1 + w_2} |m_1 - m_2|^2$ for the squared distances from
    the means $m$, in which nothing cancels.

    References:
      Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
      Variances, COMPSTAT 1982.
    """
    weights = first.weights + second.weights
    totals = [one + other for one, other in zip(first.totals, second.totals, strict=True)]
    share = first.weights * second.weights * _inverse(weights)
    squares = []
    for leaf, (one, other) in enumerate(zip(first.squares, second.squares, strict=True)):
        action, name = outputs.actions[leaf], outputs.names[leaf]
        apart = scaled(action, _inverse(first.weights), first.totals[leaf], name)
        apart -= scaled(action, _inverse(second.weights), second.totals[leaf], name)
        between = jnp.real(scaled(action, share, apart, name) * jnp.conj(apart))
        squares.append(one + other + between)
    return Sums(weights, totals, squares)


def results_of(outputs: Outputs, parts: list[Sums]) -> tuple[PyTree[Array], PyTree[Array] | None]:
    """The averages and, if squares were asked for, the variances, in the dtypes of the outputs."""
    totals = parts[0].totals
    if len(parts) > 1:
        totals = [one - other for one, other in zip(totals, parts[1].totals, strict=True)]
    averages = outputs.tree.unflatten(
        [total.astype(dtype) for total, dtype in zip(totals, outputs.dtypes, strict=True)]
    )
    if len(parts) == 1:
        return averages, None
    variances = []
    for leaf, (total, dtype) in enumerate(zip(totals, outputs.dtypes, strict=True)):
        above, below = (_about(outputs, sums, leaf, total) for sums in parts)
        variances.append((above - below).astype(jnp.finfo(dtype).dtype))
    return averages, outputs.tree.unflatten(variances)


def _about(outputs: Outputs, sums: Sums, leaf: int, centre: Array) -> Array:
    """The weighted squares of the distances of the terms of a leaf from a centre."""
    action, name = outputs.actions[leaf], outputs.names[leaf]
    away = scaled(action, _inverse(sums.weights), sums.totals[leaf], name) - centre
    return sums.squares[leaf] + jnp.real(scaled(action, sums.weights, away, name) * jnp.conj(away))


def _inverse(weights: Array) -> Array:
    """One over weights that are not negative, and zero over those whose inverse is too large."""
    nothing = weights < jnp.finfo(weights.dtype).tiny
    return jnp.where(nothing, 0, 1 / jnp.where(nothing, 1, weights))
