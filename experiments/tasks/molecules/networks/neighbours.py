"""Which atoms see which: a list of fixed length, whatever the positions are."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import Graph
from symjax_frames import nn


def nearest_neighbours(
    positions: Float[Array, "atoms 3"],
    species: Int[Array, " atoms"],
    *,
    cutoff: float,
    capacity: int,
) -> tuple[Graph, Int[Array, ""]]:
    """The nearest atoms of each within the cutoff, at most `capacity` of them.

    Whether an atom is in the list is no function of positions that has a derivative, and needs
    none: what is seen of it fades out before it leaves. Entries that are not needed hold an edge
    from the atom to itself, which the networks do not see.

    Args:
      positions: in Angstrom.
      species: 0 for padding, which no atom sees.
      cutoff: in Angstrom.
      capacity: neighbours of each atom that the list has room for. If this is all other atoms, the
        graph is complete, and nothing is searched.

    Returns:
      The graph, and the number of neighbours that an atom has at most: the list is whole if that is
      no more than `capacity`.
    """
    count = len(species)
    real = species > 0
    if capacity >= count - 1:
        return nn.CompleteGraph(real), jnp.zeros((), jnp.int32)
    vectors = positions[:, None] - positions[None, :]
    others = ~jnp.eye(count, dtype=bool) & real[:, None] & real[None, :]
    squares = jnp.where(others, jnp.sum(vectors**2, axis=-1), jnp.inf)
    near, senders = jax.lax.top_k(-jax.lax.stop_gradient(squares), capacity)
    receivers = jnp.broadcast_to(jnp.arange(count, dtype=senders.dtype)[:, None], senders.shape)
    senders = jnp.where(-near < cutoff**2, senders, receivers)
    needed = jnp.max(jnp.sum(squares < cutoff**2, axis=1), initial=0)
    return nn.EdgeList(senders.ravel(), receivers.ravel(), real), needed.astype(jnp.int32)
