"""Small networks with generic parameters and generic inputs, shared by the tests of `nn`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from symjax_frames import nn
from symjax_frames.testing import generic_cloud

NODE_FEATURES, EDGE_FEATURES, HIDDEN = 2, 1, 8


class Inputs(NamedTuple):
    points: jax.Array
    velocities: jax.Array
    nodes: jax.Array
    edges: jax.Array


def draw_inputs(key, count=4, dim=3, dtype=jnp.float32):
    """A generic cloud with random velocities, node features and dense edge features."""
    keys = jax.random.split(key, 4)
    return Inputs(
        generic_cloud(keys[0], count, dim, dtype=dtype),
        jax.random.normal(keys[1], (count, dim), dtype),
        jax.random.normal(keys[2], (count, NODE_FEATURES), dtype),
        jax.random.normal(keys[3], (count, count, EDGE_FEATURES), dtype),
    )


def draw_network(name, key, dim=3, dtype=jnp.float32, layers=2, **options):
    """A small network whose parameters, zero-initialised ones included, are generic numbers."""
    build, perturb = jax.random.split(key)
    features = (NODE_FEATURES, EDGE_FEATURES)
    options = {**options, "hidden": HIDDEN, "rngs": nnx.Rngs(build)}
    if name != "MessagePassing":
        options["layers"] = layers
    match name:
        case "MessagePassing":
            network = nn.MessagePassing(*features, **options)
        case "PointGNN":
            network = nn.PointGNN(dim, *features, **options)
        case "EGNN":
            network = nn.EGNN(*features, **options)
        case "LayerwiseGNN":
            network = nn.LayerwiseGNN(dim, *features, channels=4, **options)
    leaves, tree = jax.tree.flatten(network)
    noise = [
        0.2 * jax.random.normal(k, leaf.shape, dtype)
        for k, leaf in zip(jax.random.split(perturb, len(leaves)), leaves, strict=True)
    ]
    return tree.unflatten([leaf.astype(dtype) + n for leaf, n in zip(leaves, noise, strict=True)])


def apply(network, inputs, graph):
    """Calls a network; the bare round of message passing with what it takes, and masked."""
    if isinstance(network, nn.MessagePassing):
        change, _ = network(inputs.nodes, inputs.edges, graph)
        return jnp.where(graph.mask[:, None], change, 0)
    return network(*inputs, graph)


def complete(count):
    return nn.CompleteGraph(jnp.ones(count, bool))


def pairs(count):
    """Senders and receivers of all ordered pairs of different nodes."""
    senders, receivers = np.nonzero(~np.eye(count, dtype=bool))
    return senders, receivers


def as_edge_list(inputs, graph):
    """The same inputs and graph with the edges as a list."""
    senders, receivers = pairs(len(graph.mask))
    edges = nn.EdgeList(jnp.asarray(senders), jnp.asarray(receivers), graph.mask)
    return inputs._replace(edges=inputs.edges[receivers, senders]), edges


@jax.jit
def value_and_gradients(network, inputs, graph):
    """The output, and the gradients of a scalar of it by parameters and by inputs."""

    def scalar(network, inputs):
        output = apply(network, inputs, graph)
        return jnp.sum(jnp.sin(output)), output

    gradients, output = jax.grad(scalar, argnums=(0, 1), has_aux=True)(network, inputs)
    return output, *gradients


def promotion(dtype):
    """Strict dtype promotion, except in float64: the LayerNorm of Flax promotes it with float32."""
    return jax.numpy_dtype_promotion("standard" if dtype == jnp.float64 else "strict")


def relative(value, reference):
    """The largest difference of two arrays over the largest entry of the reference."""
    value, reference = np.asarray(value), np.asarray(reference)
    return np.max(np.abs(value - reference)) / np.max(np.abs(reference))
