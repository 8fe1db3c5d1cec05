"""What a network sees of the vector from one atom to another, smooth in it up to a cutoff."""

import math
from itertools import combinations_with_replacement
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.tasks.molecules.networks.neighbour_table import NeighbourTable
from symjax_frames.linalg import safe_norm
from symjax_frames.nn import CompleteGraph, EdgeList

Graph = CompleteGraph | EdgeList | NeighbourTable


class Edges(NamedTuple):
    """The edges of a graph as numbers, one row an edge, in the edge layout of the graph.

    Attributes:
      features: products of functions of the distance and of the direction, zero from the cutoff on.
      envelope: falls from one to zero at the cutoff, with its first two derivatives.
    """

    features: Float[Array, "*edges features"]
    envelope: Float[Array, "*edges 1"]


def envelope(distance: Float[Array, "*edges"], cutoff: float) -> Float[Array, "*edges"]:
    r"""One at distance zero, zero from the cutoff on, with two continuous derivatives.

    Formula: $1 - 28 t^6 + 48 t^7 - 21 t^8$ with $t = r / r_c$.

    References:
      Gasteiger et al., Directional Message Passing for Molecular Graphs, ICLR 2020,
      arXiv:2003.03123.
    """
    ratio = jnp.minimum(distance / cutoff, 1)
    return 1 - ratio**6 * (28 - ratio * (48 - 21 * ratio))


def radial_basis(
    distance: Float[Array, "*edges"], count: int, cutoff: float
) -> Float[Array, "*edges radial"]:
    r"""Bessel functions of a distance over their order.

    Formula: $c \sin(n \pi r / r_c) / (n r)$ for $n \ge 1$.

    Functions that change fast are small, so that a network prefers the slow ones. With functions of
    one size, it fits a thousand training molecules as well, and new ones worse. The factor $c$ lets
    the squared amplitudes add up to $2$ for each function, as they do without the division by $n$.

    Args:
      distance: in Angstrom, positive.
      count: how many.
      cutoff: where they all vanish.

    References:
      Gasteiger et al., Directional Message Passing for Molecular Graphs, ICLR 2020,
      arXiv:2003.03123.
    """
    shape = (1,) * distance.ndim + (count,)
    orders = np.arange(1, count + 1)
    amplitudes = math.sqrt(2 / np.mean(orders**-2.0)) / orders
    waves = jnp.asarray(orders * (np.pi / cutoff), distance.dtype).reshape(shape)
    heights = jnp.asarray(amplitudes, distance.dtype).reshape(shape)
    return heights * jnp.sin(distance[..., None] * waves) / distance[..., None]


def direction_basis(
    direction: Float[Array, "*edges 3"], degree: int
) -> Float[Array, "*edges angular"]:
    r"""All polynomials of a unit vector up to a degree, as monomials of this degree and one less.

    On the sphere these span the same functions as the spherical harmonics $Y_{lm}$, $l \le$
    `degree`, $(\mathrm{degree} + 1)^2$ of them. They are scaled so that their squares add up to
    their number.
    """
    columns = []
    for power in range(max(degree - 1, 0), degree + 1):
        choices = list(combinations_with_replacement(range(3), power))
        for choice in choices:
            orders = math.prod(math.factorial(choice.count(axis)) for axis in range(3))
            column = jnp.full(direction.shape[:-1], 1, direction.dtype)
            for axis in choice:
                column *= direction[..., axis]
            columns.append(column * math.sqrt(len(choices) * math.factorial(power) / orders))
    return jnp.stack(columns, axis=-1)


def edge_vectors(positions: Float[Array, "atoms 3"], graph: Graph) -> Float[Array, "*edges 3"]:
    """From the receiver of each edge to its sender, in Angstrom."""
    if isinstance(graph, NeighbourTable):
        return graph.vectors
    return graph.at_senders(positions) - graph.at_receivers(positions)


def edge_basis(
    vectors: Float[Array, "*edges 3"], *, cutoff: float, radial: int, degree: int
) -> Edges:
    """What is seen of every edge, with derivatives that stay finite on padding and on the diagonal.

    Args:
      vectors: from receivers to senders in Angstrom, zero for what is no edge.
      cutoff: in Angstrom, beyond which atoms do not see each other.
      radial: number of functions of the distance.
      degree: of the polynomials in the direction.
    """
    squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
    # An edge from an atom to itself is put out of sight, where nothing has a derivative.
    away = jnp.zeros_like(vectors).at[..., 0].set(2 * cutoff)
    vectors = jnp.where(squared > 0, vectors, away)
    distance = safe_norm(vectors)
    fade = envelope(distance, cutoff)[..., None]
    lengths = radial_basis(distance, radial, cutoff) * fade
    directions = direction_basis(vectors / distance[..., None], degree)
    features = lengths[..., :, None] * directions[..., None, :]
    return Edges(features.reshape(*distance.shape, -1), fade)
