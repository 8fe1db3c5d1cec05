"""Sums of weighted terms by examples, and their squared distances from the mean, merged of parts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

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
    """Sums over some terms of every example.

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
) -> Sums:
    """The sums of terms, one a pair, by their examples."""
    weights = sum_by_example(pairs.weights, pairs.examples, size)
    found = Sums(weights, [], [])
    for action, name, leaf in zip(
        outputs.actions, outputs.names, jax.tree.leaves(terms), strict=True
    ):
        summands = scaled(action, pairs.weights, leaf, name)
        total = sum_by_example(summands, pairs.examples, size)
        found.totals.append(total)
        if squares:
            mean = scaled(action, _inverse(weights), total, name)
            away = leaf.astype(total.dtype) - mean[jnp.minimum(pairs.examples, size - 1)]
            # Weighted before it is squared: what has no weight may be too large for that.
            square = jnp.real(scaled(action, pairs.weights, away, name) * jnp.conj(away))
            found.squares.append(sum_by_example(square, pairs.examples, size))
    return found


def merged(outputs: Outputs, first: Sums, second: Sums) -> Sums:
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


def results_of(outputs: Outputs, sums: Sums) -> tuple[PyTree[Array], PyTree[Array]]:
    """The averages and, if squares were asked for, the variances, in the dtypes of the outputs."""
    totals = [total.astype(dtype) for total, dtype in zip(sums.totals, outputs.dtypes, strict=True)]
    averages = outputs.tree.unflatten(totals)
    if not sums.squares:
        return averages, None
    variances = [
        square.astype(jnp.finfo(dtype).dtype)
        for square, dtype in zip(sums.squares, outputs.dtypes, strict=True)
    ]
    return averages, outputs.tree.unflatten(variances)


def _inverse(weights: Array) -> Array:
    """One over the weights, and zero over those that are zero."""
    nothing = weights == 0
    return jnp.where(nothing, 0, 1 / jnp.where(nothing, 1, weights))
