"""Small networks with generic parameters and generic inputs, shared by the tests of `nn`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from symjax_frames import nn
from tests.helpers.clouds import draw_cloud

NODE_FEATURES, EDGE_FEATURES, HIDDEN = 2, 1, 8
BOTH_FORMS = ["MessagePassing", "PointGNN", "EGNN"]
FORMS = [(name, form) for name in BOTH_FORMS for form in ("dense", "packed")]
MOVING = "LayerwiseGNN, moving"
FORMS += [("LayerwiseGNN", "dense"), (MOVING, "dense")]
# Epsilons of rounding: sums of a few dozen terms in another order, in a network four maps deep.
FEW = 200


class Inputs(NamedTuple):
    points: np.ndarray
    velocities: np.ndarray
    nodes: np.ndarray
    edges: np.ndarray


def draw_inputs(seed, count=4, dim=3, dtype=np.float32):
    """A generic cloud with random velocities, node features and dense edge features."""
    rng = np.random.default_rng(seed)
    shapes = (count, dim), (count, NODE_FEATURES), (count, count, EDGE_FEATURES)
    rest = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    return Inputs(draw_cloud(seed, count, dim).astype(dtype), *rest)


def draw_network(name, seed, dim=3, dtype=np.float32, layers=2, **options):
    """A small network whose parameters, zero-initialised ones included, are generic numbers."""

    def build():
        features = (NODE_FEATURES, EDGE_FEATURES)
        sizes = {"hidden": HIDDEN, "rngs": nnx.Rngs(0), **options}
        match name:
            case "MessagePassing":
                return nn.MessagePassing(*features, **sizes)
            case "PointGNN":
                return nn.PointGNN(dim, *features, layers=layers, **sizes)
            case "EGNN":
                return nn.EGNN(*features, layers=layers, **sizes)
            case "LayerwiseGNN":
                return nn.LayerwiseGNN(dim, *features, channels=4, layers=layers, **sizes)
            case "LayerwiseGNN, moving":
                sizes |= {"channels": 4, "layers": layers, "moving": True}
                return nn.LayerwiseGNN(dim, *features, **sizes)

    # Drawn with NumPy: compiling the initialisers would take longer than many of the tests.
    leaves, tree = jax.tree.flatten(nnx.eval_shape(build))
    rng = np.random.default_rng(seed)

    def draw(shape):
        values = rng.normal(size=shape) / np.sqrt(shape[0] if len(shape) == 2 else 4)
        return values.astype(dtype)

    return tree.unflatten([draw(leaf.shape) for leaf in leaves])


def apply(network, inputs, graph):
    """Calls a network; the bare round of message passing with what it takes, and masked."""
    if isinstance(network, nn.MessagePassing):
        change, _ = network(inputs.nodes, inputs.edges, graph)
        return jnp.where(graph.mask[:, None], change, 0)
    return network(*inputs, graph)


def complete(count):
    return nn.CompleteGraph(jnp.asarray(np.ones(count, bool)))


def pairs(count):
    """Senders and receivers of all ordered pairs of different nodes."""
    senders, receivers = np.nonzero(~np.eye(count, dtype=bool))
    return senders, receivers


def as_edge_list(inputs, graph):
    """The same inputs and graph with the edges as a list, filled up as `jnp.nonzero` fills it."""
    senders, receivers = (np.append(ends, [0, 0]) for ends in pairs(len(graph.mask)))
    edges = nn.EdgeList(senders, receivers, graph.mask)
    return inputs._replace(edges=inputs.edges[receivers, senders]), edges


@jax.jit
def value_and_gradients(network, inputs, graph):
    """The output, and the gradients of a scalar of it by parameters and by inputs."""

    def scalar(network, inputs):
        output = apply(network, inputs, graph)
        return jnp.sum(jnp.sin(output)), output

    gradients, output = jax.grad(scalar, argnums=(0, 1), has_aux=True)(network, inputs)
    return output, *gradients


@jax.jit
def curvature(network, inputs, graph):
    """The gradient by the inputs, and its derivative along a fixed direction."""
    slope = jax.grad(lambda inputs: jnp.sum(jnp.sin(apply(network, inputs, graph))))
    along = jax.tree.map(
        lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), inputs
    )
    return jax.jvp(slope, (inputs,), (along,))


def promotion(dtype):
    """Strict dtype promotion, except in float64: the LayerNorm of Flax promotes it with float32."""
    return jax.numpy_dtype_promotion("standard" if dtype == np.float64 else "strict")


def relative(value, reference):
    """The largest difference of two arrays over the largest entry of the reference."""
    value, reference = np.asarray(value), np.asarray(reference)
    return np.max(np.abs(value - reference)) / np.max(np.abs(reference))
