"""Weights of other runs on digits, which are used without training them further."""

from typing import Any

import jax
import numpy as np

from experiments.errors import UsageError
from experiments.files import digest_arrays
from experiments.runs.folder import RunFolder
from experiments.runs.restore import best_params, load_state
from experiments.tasks.digits.config import DigitsConfig, DigitsModelConfig
from experiments.tasks.digits.model import DigitsModel, Pretrained

_SAME = ("group", "basis", "width", "kernel_size")


def pretrained(model: DigitsModelConfig) -> Pretrained:
    """The weights of the run that a configuration names in `pretrained`.

    Raises:
      UsageError: if it is no run on digits, was not validated yet, is symmetrized itself, or has a
        network of another kind or size.
    """
    assert model.pretrained is not None
    try:
        other, weights = best_weights(model.pretrained, "none")
    except UsageError as error:
        raise UsageError(f"model.pretrained: {error}") from None
    theirs = other.config
    different = [
        f"model.{key}: must be {getattr(theirs, key)!r}, as in {model.pretrained}, got "
        f"{getattr(model, key)!r}"
        for key in _SAME
        if getattr(model, key) != getattr(theirs, key)
    ]
    if different:
        raise UsageError("\n".join(different))
    named = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    }
    return Pretrained(weights, f"scores_for_pretrained_weights_{digest_arrays(named)[:16]}")


def best_weights(path: str, symmetrization: str) -> tuple[DigitsModel, dict[str, Any]]:
    """The model of a run on digits, and the best weights of the seed with the lowest error.

    Args:
      path: the folder of the run.
      symmetrization: what its model must have as `symmetrization`.

    Raises:
      UsageError: if it is no run on digits, has another symmetrization, or was not validated yet.
    """
    folder = RunFolder(path)
    config = folder.load_config()
    if not isinstance(config, DigitsConfig):
        raise UsageError(f"{path}: must be a run of the task 'digits', got one of {config.task!r}")
    # Before its weights are read: a run that names itself as pretrained would be read without end.
    if config.model.symmetrization != symmetrization:
        raise UsageError(
            f"{path}: the symmetrization of its model must be {symmetrization!r}, got "
            f"{config.model.symmetrization!r}"
        )
    weights = None if config.model.pretrained is None else pretrained(config.model)
    model = DigitsModel(config.model, weights)
    return model, best_params(load_state(config, folder, model))
