"""Networks of other runs, taken as they are."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PyTree

from experiments.config import DigitsConfig, DigitsModelConfig
from experiments.data.cache import checksum
from experiments.errors import UsageError
from experiments.evaluate import load_state, seed_params
from experiments.run import RunFolder
from experiments.tasks.digits import Digits

_SAME = ("group", "basis", "width", "kernel_size")


class Pretrained(NamedTuple):
    """Weights that another run found, and that stay as they are.

    Attributes:
      weights: of the classifier, without a network that scores poses.
      name: holds their checksum. What is trained around the weights goes by this name in
        checkpoints, so that none of them is read with any other weights.
    """

    weights: dict[str, PyTree[Array]]
    name: str


def pretrained(model: DigitsModelConfig) -> Pretrained:
    """The weights of the run that a configuration names in `pretrained`.

    Raises:
      UsageError: if it is no run on digits, was not validated yet, is symmetrized itself, or has a
        network of another kind or size.
    """
    assert model.pretrained is not None
    try:
        task, weights = best_weights(model.pretrained, "none")
    except UsageError as error:
        raise UsageError(f"model.pretrained: {error}") from None
    theirs = task.config.model
    different = [
        f"model.{key}: received {getattr(model, key)!r}; allowed: {getattr(theirs, key)!r}, as in "
        f"{model.pretrained}, or another run as model.pretrained"
        for key in _SAME
        if getattr(model, key) != getattr(theirs, key)
    ]
    if different:
        raise UsageError("\n".join(different))
    named = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    }
    return Pretrained(weights, f"scores_for_pretrained_weights_{checksum(named)[:16]}")


def best_weights(path: str, symmetrization: str) -> tuple[Digits, dict[str, Any]]:
    """The task of a run on digits, and the best weights of the seed with the lowest validation error.

    Args:
      path: the folder of the run.
      symmetrization: what its model must have as `symmetrization`.

    Raises:
      UsageError: if it is no run on digits, has another symmetrization, or was not validated yet.
    """
    folder = RunFolder(path)
    config = folder.load_config()
    if not isinstance(config, DigitsConfig):
        raise UsageError(f"{path}: is a run of task {config.task!r}; allowed: one of task 'digits'")
    # Before its task is made: a run that names itself as pretrained would be read without end.
    if config.model.symmetrization != symmetrization:
        raise UsageError(
            f"{path}: has a model with symmetrization {config.model.symmetrization!r}; allowed: a "
            f"run with symmetrization {symmetrization!r}"
        )
    task = Digits(config)
    state = load_state(config, folder, task)
    return task, seed_params(state, int(np.argmin(np.asarray(state.best_metric))))
