"""The potential that a run has trained, without the data it was trained on."""

from typing import Literal

import jax
from jaxtyping import Array, PyTree

from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from experiments.runs.restore import best_params, load_state, seed_params
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.local_potential import make_potential
from experiments.tasks.molecules.potential import Potential


def load_potential(
    folder: RunFolder, seed: int | Literal["all"] | None = None
) -> tuple[Potential, PyTree[Array]]:
    """The potential of a run on molecules and its best parameters.

    Args:
      folder: the folder of the run.
      seed: one of its seeds, or `"all"` for the mean of what they have trained; by default that
        with the lowest validation error.

    Raises:
      UsageError: if the run is of another kind, was not trained on energies or not validated yet,
        or has no such seed.
    """
    config = folder.load_config()
    if not isinstance(config, MoleculesConfig):
        raise UsageError(
            f"{folder.path}: must be a run of the task 'molecules', got one of {config.task!r}"
        )
    if "energy" not in config.data.targets:
        raise UsageError(
            f"{folder.path}: must be a run trained on energies, got one trained on "
            f"{config.data.targets}"
        )
    facts = folder.load_facts()
    try:
        known = MoleculeFacts.of(facts)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{folder.facts}: must be that of a run on molecules, got an unfit one: {error!r}"
        ) from None
    potential = make_potential(config.model, known, config.data.targets)
    state = load_state(config, folder, potential)
    seeds = list(config.train.seeds)
    if seed == "all":
        return potential.committee(), jax.device_get(state.best)
    if seed is not None and seed not in seeds:
        raise UsageError(f"seed must be one of {seeds}, or 'all', got {seed}")
    params = best_params(state) if seed is None else seed_params(state, seeds.index(seed))
    return potential, jax.device_get(params)
