"""Charged five-body dynamics: where will the particles be?"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

import symjax_frames as sf
from experiments.config import Config
from experiments.data.nbody import load_nbody
from experiments.models import Network, evaluated, trained
from experiments.tasks._task import Batch
from symjax_frames.testing import equivariance_error


class NBody:
    """Predict positions one unit of time ahead from positions, velocities and charges.

    Args:
      config: the configuration; `data`, `model` and the training loss are read.

    Raises:
      ValueError: if the data cannot be read.

    References:
      Satorras et al., E(n) Equivariant Graph Neural Networks, ICML 2021, arXiv:2102.09844.
    """

    metric = "mse"

    def __init__(self, config: Config):
        self.config = config
        self.splits = load_nbody(**config.data.model_dump())
        network = nnx.eval_shape(lambda: Network(config.model, rngs=nnx.Rngs(0)))
        self._graph = nnx.graphdef(network)

    def network(self, params: PyTree[Array]) -> Network:
        """The backbone with the given parameters."""
        return nnx.merge(self._graph, nnx.State(params))

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        return nnx.to_pure_dict(nnx.state(Network(self.config.model, rngs=nnx.Rngs(key))))

    def loss(self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """The mean absolute or squared error over all coordinates."""
        model = jax.vmap(trained(self.network(params), self.config.model))
        keys = jax.random.split(key, len(batch["target"]))
        error = model(keys, *_inputs(batch)) - batch["target"]
        return jnp.mean(jnp.abs(error) if self.config.train.loss == "l1" else error**2)

    def predict(self, params: PyTree[Array], batch: Batch) -> Float[Array, "examples bodies 3"]:
        """The positions after the time step, averaged over the whole frame."""
        return jax.vmap(evaluated(self.network(params), self.config.model))(*_inputs(batch))

    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """The mean squared error of each system, over bodies and coordinates."""
        error = self.predict(params, batch) - batch["target"]
        return {"mse": jnp.mean(error**2, axis=(1, 2))}

    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """Relative equivariance errors under SE(3) and E(3): the median and the worst system."""
        model = evaluated(self.network(params), self.config.model)
        errors = {}
        for name, group in (("SE(3)", sf.special_euclidean(3)), ("E(3)", sf.euclidean(3))):
            law = functools.partial(
                equivariance_error,
                model,
                group=group,
                in_actions=(sf.points, sf.vectors, None),
                out_actions=sf.points,
                num_samples=4,
            )
            keys = jax.random.split(key, len(batch["target"]))
            each = jax.jit(jax.vmap(lambda k, *args, law=law: law(*args, key=k)))(
                keys, *_inputs(batch)
            )
            errors[name] = float(jnp.median(each))
            errors[f"{name} worst"] = float(jnp.max(each))
        return errors


def _inputs(batch: Batch) -> tuple[Array, Array, Array]:
    return batch["position"], batch["velocity"], batch["charge"]
