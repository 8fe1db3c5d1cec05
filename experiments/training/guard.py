"""Stops a run whose numbers are no longer finite, and says what to do about it."""

import jax
import numpy as np

from experiments.config import Config
from experiments.errors import DivergedError
from experiments.runs.checkpoint import Checkpoints
from experiments.training.state import State
from experiments.training.steps import Trace


def check_steps(trace: Trace, step: int, config: Config, checkpoints: Checkpoints) -> None:
    """Checks every step of a dispatch that began after `step` steps.

    Raises:
      DivergedError: with the first step and seed whose loss or gradient is not finite.
    """
    loss, norm = np.asarray(trace.loss), np.asarray(trace.gradient_norm)
    good = np.isfinite(loss) & np.isfinite(norm)
    if good.all():
        return
    column = int(np.argmin(good.all(axis=0)))
    row = int(np.argmin(good[:, column]))
    what = f"the loss of seed {config.train.seeds[row]} is {loss[row, column]}"
    if np.isfinite(loss[row, column]):
        what += f" and the norm of its gradient {norm[row, column]}"
    raise _diverged(f"step {step + column + 1}: {what}", config, checkpoints)


def check_validation(
    values: dict[str, list[float]], step: int, config: Config, checkpoints: Checkpoints
) -> None:
    """Checks the metrics of a validation.

    Raises:
      DivergedError: with the first metric and seed that is not finite.
    """
    for name, values_of_seeds in values.items():
        for seed, value in zip(config.train.seeds, values_of_seeds, strict=True):
            if not np.isfinite(value):
                what = f"step {step}: the validation {name} of seed {seed} is {value}"
                raise _diverged(what, config, checkpoints)


def check_state(state: State, step: int, config: Config, checkpoints: Checkpoints) -> None:
    """Checks the state before it is saved.

    Raises:
      DivergedError: with the first array that has a value that is not finite.
    """
    # Infinite until the first validation, which is no mistake.
    checked = state._replace(best_metric=state.best_step)
    for path, leaf in jax.tree_util.tree_leaves_with_path(checked):
        if not np.all(np.isfinite(np.asarray(leaf))):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise _diverged(f"step {step}: {name} is not finite", config, checkpoints)


def _diverged(what: str, config: Config, checkpoints: Checkpoints) -> DivergedError:
    steps = checkpoints.steps()
    kept = f"the checkpoint of step {steps[0]} is kept" if steps else "no checkpoint was saved yet"
    settings = config.train
    clip = "null" if settings.clip_norm is None else f"{settings.clip_norm:g}"
    return DivergedError(
        f"{what}; the run stops here and {kept}\n"
        f"what to try, in another folder (run=FOLDER): a lower train.learning_rate "
        f"(now {settings.learning_rate:g}), a lower train.clip_norm (now {clip}), or "
        f"more train.warmup_steps (now {settings.warmup_steps})"
    )
