"""Small backbones of potentials with generic parameters, and a generic molecule for them."""

import functools
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.tasks.molecules.networks.e3x_network import E3xNetwork
from experiments.tasks.molecules.networks.message_passing import MessagePassing
from experiments.tasks.molecules.networks.point_sum import PointSum
from experiments.tasks.molecules.networks.transformer import PointTransformer
from symjax_frames import nn

OWN = ["message_passing", "transformer", "point_sum"]
NEEDS_E3X = pytest.mark.skipif(find_spec("e3x") is None, reason="needs the package e3x")
EVERY = [*OWN, pytest.param("e3x", marks=NEEDS_E3X)]
CUTOFF = 3.0
# It takes half the time to compile, and all of this runs a few times only.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
_CLASSES = {
    "message_passing": MessagePassing,
    "transformer": PointTransformer,
    "point_sum": PointSum,
    "e3x": E3xNetwork,
}


def draw_backbone(name, dtype=np.float32, seed=0, **options):
    """A network for three species whose parameters, zero-initialised ones included, are generic."""
    options = {"hidden": 8, "layers": 2, **options}
    if name != "point_sum":
        # e3x takes a second longer to trace for a degree more.
        degree = 1 if name == "e3x" else 2
        options = {"cutoff": CUTOFF, "radial": 4, "degree": degree, **options}
    # Drawn with NumPy: compiling the initialisers would take longer than many of the tests.
    leaves, tree = _structure(name, **options)
    rng = np.random.default_rng(seed)

    def draw(shape):
        values = rng.normal(size=shape) / np.sqrt(shape[0] if len(shape) == 2 else 4)
        return values.astype(dtype)

    return tree.unflatten([draw(leaf.shape) for leaf in leaves])


@functools.cache
def _structure(name, **options):
    """The leaves and the tree of a network: that of e3x takes seconds to trace."""
    network = nnx.eval_shape(lambda: _CLASSES[name](3, 2, rngs=nnx.Rngs(0), **options))
    return jax.tree.flatten(network)


def draw_params(potential, dtype=np.float64):
    """Generic parameters of a potential, zero-initialised ones included."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(potential.init, jax.random.key(0)))
    rng = np.random.default_rng(0)
    return tree.unflatten([(rng.normal(size=leaf.shape) / 2).astype(dtype) for leaf in leaves])


def draw_molecule(atoms=6, dtype=np.float64, seed=0):
    """Positions of atoms at least 0.8 Angstrom apart, pairs on both sides of the cutoff; species."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(1, 3))
    while len(positions) < atoms:
        new = rng.uniform(-2, 2, size=(1, 3))
        if np.min(np.linalg.norm(positions - new, axis=1)) > 0.8:
            positions = np.concatenate([positions, new])
    return positions.astype(dtype), np.arange(atoms, dtype=np.int32) % 3 + 1


def complete(mask):
    return nn.CompleteGraph(jnp.asarray(mask))


@jit
def output_and_gradient(network, positions, species, graph):
    """The outputs, and the gradient by the positions of a scalar of those of real atoms."""

    def scalar(positions):
        output = network(positions, species, graph)
        return jnp.sum(jnp.where(graph.mask[:, None], jnp.sin(output), 0)), output

    gradient, output = jax.grad(scalar, has_aux=True)(positions)
    return output, gradient


@jit
def output(network, positions, species, graph):
    return network(positions, species, graph)


@functools.partial(jit, static_argnames="orders")
def along_approach(network, distances, orders):
    """Output and its derivatives by the distance of an atom from one of two near each other.

    It sees at most one of them. The axes of the result: distances, derivatives, outputs.
    """

    def value(distance):
        near = jnp.asarray([[0, 0, 0], [-0.8, 0.6, -0.5]], distance.dtype)
        far = jnp.stack([distance, jnp.zeros_like(distance), jnp.zeros_like(distance)])
        positions = jnp.concatenate([near, far[None]])
        return network(positions, jnp.asarray([1, 2, 3]), complete(np.ones(3, bool)))[:1]

    def with_slope(fn):
        def both(distance):
            values, slopes = jax.jvp(fn, (distance,), (jnp.ones_like(distance),))
            return jnp.concatenate([values, slopes[-1:]])

        return both

    for _ in range(orders):
        value = with_slope(value)
    return jax.vmap(value)(distances)


def forces_of(energy):
    """`(positions, *rest)` of a molecule to the energy and the forces, minus its gradient."""

    def both(positions, *rest):
        value, gradient = jax.value_and_grad(energy)(positions, *rest)
        return value, -gradient

    return both
