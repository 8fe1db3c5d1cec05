"""The networks whose averages are timed against themselves, with what each is averaged over."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

import symjax_frames as sf
from experiments.errors import UsageError
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.names import molecule_named
from experiments.tasks.molecules.networks import network as molecules
from experiments.tasks.nbody import model as nbody
from experiments.tasks.nbody.config import NBodyModelConfig
from symjax_frames import nn

_BODIES = 5
_JITTER = 0.05
"""Standard deviation of the coordinates of an atom, in Angstrom."""


class Backbone(NamedTuple):
    """A network without any symmetry but that of exchanging points, and how motions act on it.

    Attributes:
      title: the network, and what it sees.
      network: a module; an average of it is over the PCA frame of its first input.
      call: from the module and the inputs of one example to the output.
      actions: `in_actions` and `out_actions` of `symjax_frames.frame_average`.
      inputs: from a number of examples to the inputs of so many, along their first axes.
      trivial: a network of one multiplication with the same inputs, if there is one: of its average
        the averaging itself is left.
      published: forward and training step of an average and of the backbone on as many examples as
        there are elements, in ms, if they have been published.
    """

    title: str
    network: nnx.Module
    call: Callable[..., Array]
    actions: dict[str, Any]
    inputs: Callable[[int], tuple[Array, ...]]
    trivial: nnx.Module | None = None
    published: tuple[tuple[float, float], tuple[float, float]] | None = None


def _gnn(hidden: int, layers: int) -> Backbone:
    return Backbone(
        f"PointGNN on {_BODIES} charged bodies",
        nbody.Network(NBodyModelConfig(hidden=hidden, layers=layers), rngs=nnx.Rngs(0)),
        lambda network, *inputs: network(*inputs),
        nbody.ACTIONS,
        _charged_bodies,
        nbody.Network(NBodyModelConfig(backbone="linear"), rngs=nnx.Rngs(0)),
        # For 100 systems: the PyTorch code of Puny et al. (2022).
        ((66.0, 174.0), (61.0, 163.0)),
    )


def _charged_bodies(systems: int) -> tuple[Array, ...]:
    draw = np.random.default_rng(0)
    shape = (systems, _BODIES, 3)
    position, velocity = (jnp.asarray(draw.normal(size=shape), jnp.float32) for _ in range(2))
    return position, velocity, jnp.asarray(draw.choice([-1.0, 1.0], shape[:2]), jnp.float32)


def _transformer(hidden: int, layers: int) -> Backbone:
    if hidden % 4:
        raise UsageError(
            f"hidden must be a multiple of 4 for the transformer, which has four heads, got {hidden}"
        )
    config = MoleculesModelConfig(backbone="transformer", hidden=hidden, layers=layers)
    return _of_molecules("transformer", config)


def _point_sum(hidden: int, layers: int) -> Backbone:
    config = MoleculesModelConfig(backbone="point_sum", hidden=hidden, layers=layers)
    return _of_molecules("sum over atoms", config)


def _of_molecules(words: str, config: MoleculesModelConfig) -> Backbone:
    atoms = molecule_named("ethanol")
    species = np.unique(atoms.numbers, return_inverse=True)[1] + 1

    def inputs(systems: int) -> tuple[Array, ...]:
        noise = np.random.default_rng(0).normal(size=(systems, *atoms.positions.shape))
        positions = jnp.asarray(atoms.positions + _JITTER * noise, jnp.float32)
        return positions, jnp.asarray(np.tile(species, (systems, 1)), jnp.int32)

    return Backbone(
        f"{words} on ethanol",
        molecules.Network(config, int(species.max()), "energy", rngs=nnx.Rngs(0)),
        _energy,
        {"in_actions": (sf.points, None), "out_actions": None},
        inputs,
    )


def _energy(
    network: molecules.Network,
    positions: Float[Array, "atoms 3"],
    species: Int[Array, " atoms"],
) -> Float[Array, ""]:
    return network(positions, species, nn.CompleteGraph(species > 0))


BACKBONES: dict[str, Callable[[int, int], Backbone]] = {
    "gnn": _gnn,
    "transformer": _transformer,
    "point_sum": _point_sum,
}
"""From the width and the number of layers to each, by the names of configurations."""
