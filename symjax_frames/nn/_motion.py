"""What a layer sees of points that move, and how it moves them, without a frame."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames.nn._graph import OtherNodes

EXACT = {"use_bias": False, "precision": jax.lax.Precision.HIGHEST}
"""Options of a linear map of vectors outside of any frame, that is to turn with them: no bias, and no
rounding of its products by accelerators."""


class Motion(nnx.Module):
    """The geometry of one layer of a `LayerwiseGNN` whose points move, which has the formulas.

    Args:
      channels: the number of vectors of a node.
      edge_features: the number of invariant features of an edge.
      softening: the length below which distances do not shrink further.
      rngs: where the parameters are drawn from.
    """

    def __init__(self, channels: int, edge_features: int, softening: float, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.softening = softening
        self.mix = nnx.Linear(2 + 2 * edge_features, channels, **EXACT, rngs=rngs)
        self.move = nnx.Linear(channels, 2, kernel_init=zeros, **EXACT, rngs=rngs)

    @staticmethod
    def invariants(edge_features: int) -> int:
        """How many numbers a layer sees of an edge with so many features."""
        return 2 + 4 * edge_features

    def seen(
        self,
        points: Float[Array, "nodes dim"],
        velocities: Float[Array, "nodes dim"],
        edges: Float[Array, "others nodes edge_features"],
        graph: OtherNodes,
    ) -> tuple[Float[Array, "others nodes invariants"], Float[Array, "nodes channels dim"]]:
        """The invariants of the edges, and the vectors of the nodes, mixed to `channels`."""
        difference = graph.at_receivers(points) - graph.at_senders(points)
        relative = graph.at_receivers(velocities) - graph.at_senders(velocities)
        squared = jnp.sum(difference**2, axis=-1, keepdims=True)
        distance = jnp.sqrt(squared + self.softening**2)
        direction = difference / distance
        radial = jnp.sum(relative * direction, axis=-1, keepdims=True)
        forces = jnp.concatenate([edges, edges / distance], axis=-1)
        invariants = [distance, radial, forces, forces * radial]
        pulls = graph.total(forces[..., :, None] * direction[..., None, :])
        vectors = jnp.concatenate([points[:, None], velocities[:, None], pulls], axis=1)
        mixed = self.mix(jnp.swapaxes(vectors, 1, 2))
        return jnp.concatenate(invariants, axis=-1), jnp.swapaxes(mixed, 1, 2)

    def moved(
        self,
        points: Float[Array, "nodes dim"],
        velocities: Float[Array, "nodes dim"],
        features: Float[Array, "nodes channels dim"],
        time: float,
    ) -> tuple[Float[Array, "nodes dim"], Float[Array, "nodes dim"]]:
        """The points and velocities after a step of this time."""
        change = self.move(jnp.swapaxes(features, 1, 2))
        velocities = velocities + change[..., 0]
        return points + time * velocities + change[..., 1], velocities
