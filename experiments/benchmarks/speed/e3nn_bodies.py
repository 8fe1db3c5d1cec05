"""An equivariant message-passing network of e3nn-jax on charged bodies, to be timed beside ours.

Layers in the manner of NequIP: features of the senders and their tensor products with spherical
harmonics of the edges, each weighed by a perceptron of the invariants of the edge, are added, mixed
by a linear map and gated. All systems are one graph, as the library is made for.

References:
  Geiger and Smidt, e3nn: Euclidean Neural Networks, 2022, arXiv:2207.09453; Batzner et al.,
  E(3)-equivariant graph neural networks for data-efficient and accurate interatomic potentials,
  Nature Communications 2022, arXiv:2101.03164.
"""

from typing import Any

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jaxtyping import Array, Float, Int

from experiments.benchmarks.speed.layerwise import BODIES, Model

FEATURES = {1: 15, 2: 7}
"""Features of each degree that a node has, by the highest degree: 60 or 63 numbers."""
_HIDDEN = 60
_HARMONICS = 2
"""The highest degree of spherical harmonics."""


def e3nn_model(degree: int, layers: int = 4) -> Model:
    """The network, with parameters drawn at random.

    Args:
      degree: the highest of the features of nodes, a key of `FEATURES`.
      layers: their number.
    """
    network = _Network(degree, layers)

    def predict(params: Any, *inputs: Array) -> Float[Array, "systems bodies 3"]:
        # Its code raises integers to floats, which strict rules forbid.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return network.apply(params, *inputs)

    sample = [jnp.ones((1, BODIES, *rest), jnp.float32) for rest in ((3,), (3,), ())]
    return Model(predict, jax.jit(network.init)(jax.random.key(0), *sample))


class _Network(linen.Module):
    """From positions, velocities and charges to the positions after the time step."""

    degree: int
    layers: int

    @linen.compact
    def __call__(
        self,
        position: Float[Array, "systems bodies 3"],
        velocity: Float[Array, "systems bodies 3"],
        charge: Float[Array, "systems bodies"],
    ) -> Float[Array, "systems bodies 3"]:
        irreps = e3nn.Irreps(
            [(FEATURES[self.degree], (order, (-1) ** order)) for order in range(self.degree + 1)]
        )
        pairs = np.stack(np.nonzero(~np.eye(BODIES, dtype=bool)))
        ends = BODIES * np.arange(len(position))[None, :, None] + pairs[:, None, :]
        receivers, senders = ends.reshape(2, -1)
        points, speeds = (
            e3nn.IrrepsArray("1o", array.reshape(-1, 3))
            for array in (position - jnp.mean(position, axis=1, keepdims=True), velocity)
        )
        charges = charge.reshape(-1, 1)
        vectors = points[senders] - points[receivers]
        edges = jnp.concatenate(
            [charges[senders] * charges[receivers], e3nn.norm(vectors).array], axis=-1
        )
        given = e3nn.concatenate([e3nn.norm(speeds), points, speeds]).regroup()
        nodes = e3nn.flax.Linear(irreps, force_irreps_out=True)(given)
        for _ in range(self.layers):
            nodes = _Layer(irreps)(nodes, vectors, edges, senders, receivers)
        moved = e3nn.flax.Linear("1o")(nodes).array
        return position + velocity + moved.reshape(position.shape)


class _Layer(linen.Module):
    """A round of messages: a tensor product with the edges, a sum, a linear map and a gate."""

    irreps: Any

    @linen.compact
    def __call__(
        self,
        nodes: Any,
        vectors: Any,
        edges: Float[Array, "edges features"],
        senders: Int[np.ndarray, " edges"],
        receivers: Int[np.ndarray, " edges"],
    ) -> Any:
        kinds = [irrep for _, irrep in self.irreps]
        sent = e3nn.flax.Linear(self.irreps, force_irreps_out=True)(nodes)[senders]
        harmonics = e3nn.spherical_harmonics(range(1, _HARMONICS + 1), vectors, normalize=True)
        turned = e3nn.tensor_product(sent, harmonics, filter_ir_out=kinds)
        messages = e3nn.concatenate([sent, turned]).regroup()
        widths = [_HIDDEN, _HIDDEN, messages.irreps.num_irreps]
        weights = e3nn.flax.MultiLayerPerceptron(widths, jax.nn.silu, output_activation=False)(
            edges
        )
        total = e3nn.scatter_sum(messages * weights, dst=receivers, output_size=nodes.shape[0])
        gates = sum(count for count, irrep in self.irreps if irrep.l > 0)
        mixed = e3nn.flax.Linear(self.irreps + e3nn.Irreps(f"{gates}x0e"), force_irreps_out=True)(
            e3nn.concatenate([nodes, total / (BODIES - 1) ** 0.5])
        )
        return nodes + e3nn.gate(mixed.regroup())
