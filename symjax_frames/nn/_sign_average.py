"""The average of a round of message passing over all signs of given axes, in closed form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import holds
from symjax_frames._matrices import apply
from symjax_frames._unrolled import copies, settled, total
from symjax_frames.nn._activation import alone, silu
from symjax_frames.nn._graph import OtherNodes
from symjax_frames.nn._message import MessagePassing


def sign_average(
    norm: nnx.LayerNorm,
    exchange: MessagePassing,
    axes: Float[Array, "dim dim"],
    signs: Float[Array, "signs dim"],
    features: Float[Array, "nodes channels dim"],
    nodes: Float[Array, "nodes node_features"],
    edges: Float[Array, "others nodes edge_features"],
    graph: OtherNodes,
) -> Float[Array, "nodes channels dim"]:
    r"""The change of the features of nodes, averaged over the frame $V \mathrm{diag}(s)$.

    Formula: $\frac1{|S|} \sum_s (V s)\, \phi(\mathrm{norm}[(V s)^{-1} h, nodes])$ with the round
    $\phi$ of `MessagePassing`, to rounding as `frame_average` computes it, for fewer products.

    What enters $\phi$ is linear in $s$ but for the standard deviation, a number for each node, and
    what leaves it is summed with the factors $s$. So all linear maps that touch the features act
    once on each of the axes, not once for each of the signs: with eight signs of three axes, on
    three thirds of the features instead of eight times on the whole. What is left for each of the
    signs is the second linear map of the messages and one of their sums.

    Args:
      norm: the normalisation of the layer.
      exchange: its round of messages.
      axes: the axes $V$, one a column.
      signs: the factors $s$ of each element.
      features: the features $h$.
      nodes: features of the nodes that the group leaves alone.
      edges: features of the edges.
      graph: which nodes are real.
    """
    count, channels, dim = features.shape
    kernels = _kernels(norm, exchange, channels, dim, features.dtype)
    # Axes keep their digits beside features and kernels of fewer.
    axes = axes if holds(axes.dtype, kernels.bias.dtype) else axes.astype(kernels.bias.dtype)
    along = apply(axes.T, features.astype(axes.dtype))
    along, nodes, edges, signs = (
        x.astype(kernels.bias.dtype) for x in (along, nodes, edges, signs)
    )
    along = jnp.swapaxes(along, 1, 2)  # (nodes, dim, channels)
    # Sums over all features that the normalisation is over; the mean depends on the signs.
    width = channels * dim + nodes.shape[-1]
    means = jnp.sum(along, axis=2) / width
    rest = jnp.sum(nodes, axis=1, keepdims=True) / width
    mean = rest + jnp.sum(means[:, None, :] * signs[None], axis=-1)
    square = jnp.sum(along**2, axis=(1, 2)) + jnp.sum(nodes**2, axis=1)
    variance = jnp.maximum(square[:, None] / width - mean**2, 0)
    scale = jax.lax.rsqrt(variance + norm.epsilon)[:, :, None]

    parts = [nodes @ kernels.invariant - rest * kernels.total[None]]
    for axis in range(dim):
        part = along[:, axis] @ kernels.moved[axis] - means[:, axis, None] * kernels.total[None]
        parts.append(part)
    maps = zip(*(jnp.split(part, 3, axis=-1) for part in parts), strict=True)
    biases = jnp.split(kernels.bias, 3)
    receiver, sender, hidden = (
        settled(scale * _over_signs(signs, *of_map) + bias[None, None])
        for of_map, bias in zip(maps, biases, strict=True)
    )

    seen = graph.at_receivers(receiver) + graph.at_senders(sender)
    edge = copies(exchange.edge(edges), len(signs), 2)
    inner = alone(silu(alone(seen + edge)))
    received = alone(graph.total(silu(alone(exchange.message(inner)))))
    updated = alone(silu(alone(hidden + received @ kernels.received)))

    by_axis = [
        total(signs[None, :, axis, None] * updated, 1) / len(signs) @ kernels.update[axis]
        for axis in range(dim)
    ]
    change = jnp.stack(by_axis, axis=-1)
    # Without a sum of zero, as in one dimension without reflections, the bias stays too.
    change = change + jnp.mean(signs, axis=0)[None, None] * kernels.update_bias[None]
    return apply(axes, change.astype(axes.dtype)).astype(kernels.bias.dtype)


def _over_signs(
    signs: Float[Array, "signs dim"], still: Array, *parts: Float[Array, "nodes maps"]
) -> Float[Array, "nodes signs maps"]:
    """What does not move, and what does along each of the axes, for all signs of these."""
    count = len(signs)
    ends = copies(still, count, 1)
    for axis, part in enumerate(parts):
        ends = ends + signs[None, :, axis, None] * copies(part, count, 1)
    return ends


class _Kernels(NamedTuple):
    """The parameters of a layer, by what they multiply; three maps side by side in the first four.

    Attributes:
      moved: those of the features along each axis, with the scale of the normalisation.
      invariant: those of the features that the group leaves alone, likewise.
      total: the sum of all of them: what the mean is multiplied with.
      bias: what all inputs at zero give, with the bias of the normalisation.
      received: those of the sum of the messages.
      update: those of the last map, by the axis that they lead to.
      update_bias: its bias.
    """

    moved: Float[Array, "dim channels maps"]
    invariant: Float[Array, "node_features maps"]
    total: Float[Array, " maps"]
    bias: Float[Array, " maps"]
    received: Float[Array, "hidden hidden"]
    update: Float[Array, "dim hidden channels"]
    update_bias: Float[Array, "channels dim"]


def _kernels(
    norm: nnx.LayerNorm, exchange: MessagePassing, channels: int, dim: int, dtype: jnp.dtype
) -> _Kernels:
    dtype = jnp.promote_types(dtype, exchange.update.kernel.dtype)

    def of(parameter: nnx.Param) -> Array:
        return jnp.asarray(parameter[...], dtype)

    width, moved = exchange.receiver.in_features, channels * dim
    hidden = of(exchange.hidden.kernel)
    kernel = jnp.concatenate(
        [of(exchange.receiver.kernel), of(exchange.sender.kernel), hidden[:width]], axis=1
    )
    biases = of(exchange.receiver.bias), of(exchange.hidden.bias)
    bias = jnp.concatenate([biases[0], jnp.zeros_like(biases[0]), biases[1]])
    scaled = of(norm.scale)[:, None] * kernel
    update = of(exchange.update.kernel)[:, :moved].reshape(-1, channels, dim)
    return _Kernels(
        moved=jnp.moveaxis(scaled[:moved].reshape(channels, dim, -1), 1, 0),
        invariant=scaled[moved:],
        total=jnp.sum(scaled, axis=0),
        bias=of(norm.bias) @ kernel + bias,
        received=hidden[width:],
        update=jnp.moveaxis(update, 2, 0),
        update_bias=of(exchange.update.bias)[:moved].reshape(channels, dim),
    )
