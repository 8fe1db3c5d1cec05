"""A learning problem that compiles in a second."""

import jax
import jax.numpy as jnp
import numpy as np

import symjax_frames as sf
from experiments.training.task import Audited, Task


class Toy(Task):
    """Regression of a smooth function, with noise in the loss that depends on the key."""

    metric = "mse"

    def __init__(self, config):
        draws = np.random.default_rng(config.data.seed)
        counts = {
            "train": config.data.num_train,
            "valid": config.data.num_valid,
            "test": config.data.num_test,
        }
        self.splits = {}
        for name, count in counts.items():
            inputs = draws.normal(size=(count, 3)).astype(np.float32)
            self.splits[name] = {"input": inputs, "target": np.sin(inputs.sum(axis=1))}
        self.hidden = config.model.hidden

    def init(self, key):
        first, second = jax.random.split(key)
        return {
            "first": jax.random.normal(first, (3, self.hidden), jnp.float32),
            "second": jax.random.normal(second, (self.hidden,), jnp.float32) / self.hidden,
        }

    def predict(self, params, batch):
        return jnp.tanh(batch["input"] @ params["first"]) @ params["second"]

    def losses(self, params, batch, keys):
        noise = 0.1 * jax.vmap(lambda key: jax.random.normal(key, (), jnp.float32))(keys)
        return (self.predict(params, batch) + noise - batch["target"]) ** 2

    def evaluate(self, params, batch):
        error = self.predict(params, batch) - batch["target"]
        return {"mse": error**2, "mae": jnp.abs(error)}

    def equivariance(self, params, batch, key):
        turned = {**batch, "input": batch["input"][:, ::-1]}
        difference = self.predict(params, batch) - self.predict(params, turned)
        return {"reversal": float(jnp.max(jnp.abs(difference)))}

    def audited(self, params):
        def energy(points):
            return jnp.sum(self.predict(params, {"input": points}))

        # One cloud, of all that the audit takes by itself, shows what the toy breaks.
        clouds = {"test inputs": self.splits["test"]["input"][:4]}
        return Audited(energy, clouds, None, sf.points, None, "E")
