"""Charged five-body dynamics: where will the particles be?"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

import symjax_frames as sf
from experiments.frame_room import DRAWN, refuse_overflows
from experiments.precision import in_precision
from experiments.tasks.equivariance import equivariance_errors, median_and_worst
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.nbody.data import load_nbody
from experiments.tasks.nbody.model import ACTIONS, Dynamics, Network, evaluated, trained
from experiments.training.task import Audited, Batch, Picture, Task

PUBLISHED = {
    "EGNN": 0.0071,
    "FA-GNN": 0.0057,
    "SEGNN": 0.0043,
    "CGENN": 0.0039,
    "MFA-GNN, not exact": 0.0036,
}
"""Published test errors on the same benchmark."""
_DRAWN = 4
"""Test systems that a report shows."""
_AUDITED = 4
"""Test systems that an audit looks at."""


class NBody(Task):
    """Predict positions one unit of time ahead from positions, velocities and charges.

    Args:
      config: the configuration; `data`, `model` and the training loss are read.

    Raises:
      ValueError: if the data cannot be read.

    References:
      Satorras et al., E(n) Equivariant Graph Neural Networks, ICML 2021, arXiv:2102.09844.
    """

    metric = "mse"
    published = PUBLISHED

    def __init__(self, config: NBodyConfig):
        self.config = config
        self.splits = load_nbody(**config.data.model_dump())
        network = nnx.eval_shape(lambda: Network(config.model, rngs=nnx.Rngs(0)))
        self._graph = nnx.graphdef(network)
        self._predict = jax.jit(
            lambda params, inputs: jax.vmap(evaluated(self.network(params), config.model))(*inputs)
        )

    def network(self, params: PyTree[Array]) -> Dynamics:
        """The backbone with the given parameters, in the precision of the configuration."""

        def of(params: PyTree[Array]) -> Dynamics:
            return nnx.merge(self._graph, nnx.State(params))

        return in_precision(self.config.train.precision, of, params)

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        return nnx.to_pure_dict(nnx.state(Network(self.config.model, rngs=nnx.Rngs(key))))

    def check_room(self, split: str) -> None:
        """Refuses systems whose robust frame has no room for its elements."""
        positions = self.splits[split]["position"]
        model = self.config.model

        def label(index: int) -> str:
            return f"{split} system {index}"

        refuse_overflows(model, label, positions)
        if split == "train" and model.training_threshold is not None:
            refuse_overflows(model.in_training, lambda index: label(index) + DRAWN, positions)

    def losses(
        self, params: PyTree[Array], batch: Batch, keys: Key[Array, " examples"]
    ) -> Float[Array, " examples"]:
        """The mean absolute or squared error over the coordinates of each system."""
        model = jax.vmap(trained(self.network(params), self.config.model.in_training))
        error = model(keys, *_inputs(batch)) - batch["target"]
        return jnp.mean(jnp.abs(error) if self.config.train.loss == "l1" else error**2, axis=(1, 2))

    def predict(self, params: PyTree[Array], batch: Batch) -> Float[Array, "examples bodies 3"]:
        """The positions after the time step, averaged over the whole frame."""
        return self._predict(params, _inputs(batch))

    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """The mean squared error of each system, over bodies and coordinates."""
        error = self.predict(params, batch) - batch["target"]
        return {"mse": jnp.mean(error**2, axis=(1, 2))}

    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """Relative equivariance errors under SE(3) and E(3): the median and the worst system."""
        errors = equivariance_errors(
            lambda *inputs: self._predict(params, inputs),
            _inputs(batch),
            jax.random.split(key, len(batch["target"])),
            {"SE(3)": sf.special_euclidean(3), "E(3)": sf.euclidean(3)},
            **ACTIONS,
        )
        return median_and_worst(errors)

    def audited(self, params: PyTree[Array]) -> Audited:
        """The model as it is evaluated, on the first test systems."""
        first = {k: jnp.asarray(array[:_AUDITED]) for k, array in self.splits["test"].items()}
        systems = enumerate(zip(*_inputs(first), strict=True))
        clouds = {f"test system {index}": system for index, system in systems}
        model = jax.jit(evaluated(self.network(params), self.config.model))
        return Audited(
            model, clouds, lambda system: system, **ACTIONS, group=self.config.model.group
        )

    def report(self, params: PyTree[Array], folder: Path) -> list[Picture]:
        """Draws predictions for a few test systems, and the frames of one of them."""
        # Matplotlib takes a second to load, which training need not wait for.
        from experiments.tasks.nbody import figures

        batch = {name: array[:_DRAWN] for name, array in self.splits["test"].items()}
        predictions = folder / "predictions.png"
        predicted = np.asarray(jax.jit(self.predict)(params, batch))
        position, velocity, charge = (batch[name] for name in ("position", "velocity", "charge"))
        figures.predicted_trajectories(
            predictions, position, velocity, charge, batch["target"], predicted
        )
        pictures = [("Predictions for test systems", predictions)]
        if self.config.model.frame != "none":
            axes = folder / "frames.png"
            frame = jax.jit(sf.pca_frame, static_argnames="group")
            elements = frame(position[0], group=self.config.model.group).elements
            linear, shift = map(np.asarray, elements)
            figures.frame_axes(axes, position[0], linear, shift, charge=charge[0])
            pictures.append(("The frames of a test system", axes))
        return pictures


def _inputs(batch: Batch) -> tuple[Array, Array, Array]:
    return batch["position"], batch["velocity"], batch["charge"]
