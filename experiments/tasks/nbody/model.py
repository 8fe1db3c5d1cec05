"""From the model section of a configuration to a network and its averages."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import symjax_frames as sf
from experiments import symmetrize
from experiments.tasks.nbody.config import NBodyModelConfig
from symjax_frames import nn

Dynamics = Callable[..., Float[Array, "bodies dim"]]
"""`(position, velocity, charge) -> position` after the time step, of one system."""

ACTIONS: dict[str, Any] = {
    "in_actions": (sf.points, sf.vectors, None),
    "out_actions": sf.points,
}


class Network(nnx.Module):
    """A backbone for charged bodies: charges enter as the products of pairs.

    Args:
      config: the model section of a configuration.
      rngs: where the parameters are drawn from.
    """

    def __init__(self, config: NBodyModelConfig, *, rngs: nnx.Rngs):
        hidden, layers = config.hidden, config.layers
        match config.backbone:
            case "gnn":
                self.backbone = nn.PointGNN(3, 0, 1, hidden=hidden, layers=layers, rngs=rngs)
            case "egnn":
                self.backbone = nn.EGNN(0, 1, hidden=hidden, layers=layers, rngs=rngs)
            case "layerwise_gnn":
                group, moving = config.group, config.moving
                self.backbone = nn.LayerwiseGNN(
                    3, 0, 2, hidden=hidden, layers=layers, group=group, moving=moving, rngs=rngs
                )
            case "linear":
                self.backbone = _Linear()

    def __call__(
        self,
        position: Float[Array, "bodies 3"],
        velocity: Float[Array, "bodies 3"],
        charge: Float[Array, " bodies"],
    ) -> Float[Array, "bodies 3"]:
        """The positions after the time step."""
        count = len(charge)
        products = (charge[:, None] * charge[None, :])[..., None]
        graph = nn.CompleteGraph(jnp.ones(count, bool))
        nodes = jnp.zeros((count, 0), position.dtype)
        if isinstance(self.backbone, nn.LayerwiseGNN):
            # Its layers see features, not points: the distances are given as edge features.
            difference = position[:, None] - position[None, :]
            squared = jnp.sum(difference**2, axis=-1, keepdims=True)
            products = jnp.concatenate([products, products / jnp.sqrt(squared + 1e-4)], axis=-1)
        return self.backbone(position, velocity, nodes, products, graph)


class _Linear(nnx.Module):
    """Free motion with one learnt time: `position + time * velocity`."""

    def __init__(self) -> None:
        self.time = nnx.Param(jnp.ones((), jnp.float32))

    def __call__(self, position: Array, velocity: Array, *unused: object) -> Array:
        del unused
        return position + self.time[...] * velocity


def evaluated(network: Dynamics, config: NBodyModelConfig) -> Dynamics:
    """The model as it is evaluated: averaged over the whole frame."""
    return symmetrize.evaluated(network, config, **ACTIONS)


def trained(network: Dynamics, config: NBodyModelConfig) -> Dynamics:
    """The model as it is trained, a function of `(key, position, velocity, charge)`."""
    return symmetrize.trained(network, config, **ACTIONS)
