"""Atoms of a batch and the elements of their local frames: all with a weight, or some drawn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import symjax_frames as sf
from experiments.tasks.molecules.networks.neighbour_table import (
    Elements,
    Surroundings,
    all_others,
)

FRAMES = 4096
"""Atoms whose frames are made together."""


class Atoms(NamedTuple):
    """The atoms of a batch, one after the other.

    Attributes:
      vectors: to the neighbours of each in Angstrom, zero for padding.
      senders: the numbers of these in the batch.
      species: 0 for padding.
    """

    vectors: Float[Array, "atoms slots 3"]
    senders: Int[Array, "atoms slots"]
    species: Int[Array, " atoms"]


def side_by_side(
    positions: Float[Array, "molecules atoms 3"],
    species: Int[Array, "molecules atoms"],
    surroundings: Surroundings | None,
) -> Atoms:
    """The atoms of a batch; without surroundings each sees all others of its molecule."""
    if surroundings is None:
        surroundings = jax.vmap(lambda row: all_others(row, positions.dtype))(species)
    count, size = species.shape
    vectors = jax.vmap(Surroundings.vectors)(surroundings, positions)
    first = size * jnp.arange(count, dtype=surroundings.senders.dtype)
    senders = surroundings.senders + first[:, None, None]
    return Atoms(
        vectors.reshape(count * size, -1, 3), senders.reshape(count * size, -1), species.reshape(-1)
    )


def frames_of(vectors: Float[Array, "atoms slots 3"], cutoff: float, **options: Any) -> sf.Frame:
    """The local frame of each atom, of the vectors to its neighbours.

    Args:
      vectors: in Angstrom, zero for padding.
      cutoff: in Angstrom.
      **options: of `symjax_frames.local_frames`.
    """
    return _of_atoms(sf.local_frames, 1, vectors, cutoff, options)


def diagnostics_of(
    vectors: Float[Array, "atoms slots 3"], cutoff: float, **options: Any
) -> sf.frames.LocalDiagnostics:
    """What these frames need; the arguments are those of `frames_of`."""
    return _of_atoms(sf.frames.local_diagnostics, 0, vectors, cutoff, options)


def _of_atoms[Result](
    function: Callable[..., Result], axis: int, vectors: Array, cutoff: float, options: Any
) -> Result:
    """What a function of edges says of nodes, along an axis of what it returns."""
    count, slots, _ = vectors.shape
    if isinstance(count, int):
        receivers = np.repeat(np.arange(count), slots)
        return function(vectors.reshape(-1, 3), receivers, count, cutoff, **options)

    # Numbers that `jax.export` keeps open: each atom by itself, whose edges are known to be its own.
    def of_one(row: Float[Array, "slots 3"]) -> Result:
        found = function(row, jnp.zeros(slots, jnp.int32), 1, cutoff, **options)
        return jax.tree.map(lambda leaf: jnp.squeeze(leaf, axis), found)

    return jax.vmap(of_one, out_axes=axis)(vectors)


def frames_in_turn(
    frames: Callable[[Array], sf.Frame], vectors: Float[Array, "atoms slots 3"]
) -> sf.Frame:
    """The frames of many atoms, of some at a time: what is in between takes far more memory."""
    count = vectors.shape[0]
    size = jax.core.min_dim(count, FRAMES)
    if isinstance(count, int) and count == size:
        return frames(vectors)
    # The last part is filled up with the last atom.
    parts = -(-count // size)
    rows = jnp.minimum(jnp.arange(parts * size), count - 1).reshape(parts, size)
    made = jax.lax.map(jax.checkpoint(frames), vectors[rows])

    def joined(leaf: Array) -> Array:
        _, elements, _, *rest = leaf.shape
        return jnp.moveaxis(leaf, 0, 1).reshape(elements, -1, *rest)[:, :count]

    return jax.tree.map(joined, made)


def drawn(frame: sf.Frame, numbers: Float[Array, " atoms"], samples: int) -> Elements:
    """Elements drawn for each atom, with the weights of the frame.

    Args:
      frame: of each atom.
      numbers: a random number between zero and one for each atom.
      samples: how many are drawn for an atom, at equal distances of the summed weights.
    """
    weights = jax.lax.stop_gradient(frame.weights)
    count = weights.shape[1]
    steps = jnp.arange(samples, dtype=weights.dtype) / samples
    marks = (numbers[:, None] / samples + steps[None]).reshape(-1)
    atoms = jnp.repeat(jnp.arange(count, dtype=jnp.int32), samples)
    sums = jnp.cumsum(weights, axis=0)[:, atoms]
    # Rounding may leave a sum below a mark; the last of the elements with a weight is drawn then.
    chosen = jnp.sum(sums <= jnp.minimum(marks, sums[-1] * (1 - 1e-6))[None], axis=0)
    axes = frame.elements.linear[jnp.minimum(chosen, len(weights) - 1), atoms]
    if samples == 1:
        return Elements(None, axes, jnp.ones_like(marks))
    return Elements(atoms, axes, jnp.full_like(marks, 1 / samples))


def with_a_weight(frame: sf.Frame) -> Elements:
    """The elements of all atoms in their order, those with a weight; then zeros in their place."""
    weights, linear = frame.weights.T, jnp.swapaxes(frame.elements.linear, 0, 1)
    count, per_atom = weights.shape
    [chosen] = jnp.nonzero((weights > 0).ravel(), size=weights.size, fill_value=weights.size)
    atoms = (chosen // per_atom).astype(jnp.int32)
    return Elements(
        atoms, rows_at(linear.reshape(-1, 3, 3), chosen), rows_at(weights.ravel(), chosen)
    )


def rows_at(array: Array, numbers: Int[Array, " rows"]) -> Array:
    """Rows of an array, and zeros where it has none."""
    return array.at[numbers].get(mode="fill", fill_value=0)
