"""A backbone for molecules, and the energy, dipole or polarizability from its outputs."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.networks.basis import Graph
from experiments.tasks.molecules.networks.e3x_network import E3xNetwork
from experiments.tasks.molecules.networks.message_passing import MessagePassing
from experiments.tasks.molecules.networks.point_sum import PointSum
from experiments.tasks.molecules.networks.transformer import PointTransformer

_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Where a symmetric matrix has which of its six numbers, in the order of Voigt."""


_BACKBONES: dict[str, Callable[..., nnx.Module]] = {
    "message_passing": MessagePassing,
    "transformer": PointTransformer,
    "point_sum": PointSum,
    "e3x": E3xNetwork,
}


class Network(nnx.Module):
    r"""An energy, a dipole or a polarizability of a molecule, in units of the training set.

    Formula, of the outputs $y_i$ of the backbone, the positions $x_i$ and their mean $t$:
    $$E = \sum_i y_i, \qquad \mu = \sum_i y_{i0} (x_i - t) + (y_{i1}, y_{i2}, y_{i3}), \qquad
      \alpha = \sum_i \begin{pmatrix} y_{i0} & y_{i5} & y_{i4} \\ y_{i5} & y_{i1} & y_{i3} \\
      y_{i4} & y_{i3} & y_{i2} \end{pmatrix}$$

    Args:
      config: the model section of a configuration.
      num_species: number of chemical elements.
      targets: what it returns: `energy_forces`, `energy`, `dipole` or `polarizability`.
      rngs: where the parameters are drawn from.
    """

    def __init__(
        self, config: MoleculesModelConfig, num_species: int, targets: str, *, rngs: nnx.Rngs
    ):
        self.targets = targets
        sizes = (num_species, {"dipole": 4, "polarizability": 6}.get(targets, 1))
        options: dict[str, Any] = {"hidden": config.hidden, "layers": config.layers, "rngs": rngs}
        if config.backbone != "point_sum":
            options |= {"cutoff": config.cutoff, "radial": config.radial, "degree": config.degree}
        self.backbone = _BACKBONES[config.backbone](*sizes, **options)

    def __call__(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        graph: Graph,
    ) -> Float[Array, "*tensor"]:
        """The energy, the dipole or the polarizability, as the targets say."""
        real = species > 0
        outputs = jnp.where(real[:, None], self.backbone(positions, species, graph), 0)
        if self.targets == "polarizability":
            return jnp.sum(outputs, axis=0)[_VOIGT]
        if self.targets != "dipole":
            return jnp.sum(outputs)
        return jnp.sum(outputs[:, :1] * centred(positions, real) + outputs[:, 1:], axis=0)
