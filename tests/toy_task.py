"""A learning problem that compiles in a second, and a command line that trains it.

`python tests/toy_task.py train CONFIG` is `python -m experiments` with the toy in the place of the
n-body task. `TOY_KILL="save 2 0.01"` kills the process 0.01 seconds into its second checkpoint.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

CONFIG = """\
task: nbody
run: {run}
data: {{num_train: 100, num_valid: 23, num_test: 19}}
model: {{hidden: 8}}
train:
  seeds: [3, 5]
  epochs: 8
  batch_size: 16
  learning_rate: 0.01
  ema: 0.9
  steps_per_dispatch: 4
  evaluate_every: 2
  evaluation_batch_size: 8
  checkpoint_every: 2
"""


class Toy:
    """Regression of a smooth function, with noise in the loss that depends on the key."""

    metric = "mse"
    seeds_together = True

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

    def loss(self, params, batch, key):
        noise = 0.1 * jax.random.normal(key, batch["target"].shape, jnp.float32)
        return jnp.mean((self.predict(params, batch) + noise - batch["target"]) ** 2)

    def evaluate(self, params, batch):
        error = self.predict(params, batch) - batch["target"]
        return {"mse": error**2, "mae": jnp.abs(error)}

    def equivariance(self, params, batch, key):
        turned = {**batch, "input": batch["input"][:, ::-1]}
        difference = self.predict(params, batch) - self.predict(params, turned)
        return {"reversal": float(jnp.max(jnp.abs(difference)))}


@contextlib.contextmanager
def compiled_once(folder):
    """Keeps compiled programs in a folder: every run of the toy compiles the same few."""
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def kill_while(command: str) -> None:
    """Arranges for the process to kill itself in the middle of what the command names."""
    from experiments.checkpoint import Checkpoints
    from experiments.run import RunFolder

    what, count, delay = command.split()
    owner, name = {"save": (Checkpoints, "save"), "metrics": (RunFolder, "append_metrics")}[what]
    original, calls = getattr(owner, name), []

    def die():
        time.sleep(float(delay))
        os.kill(os.getpid(), signal.SIGKILL)

    def called(*args):
        calls.append(args)
        if len(calls) == int(count):
            threading.Thread(target=die, daemon=True).start()
        return original(*args)

    setattr(owner, name, called)


if __name__ == "__main__":
    from experiments import tasks
    from experiments.cli import main

    tasks.TASKS["nbody"] = Toy
    if "TOY_KILL" in os.environ:
        kill_while(os.environ["TOY_KILL"])
    sys.exit(main())
