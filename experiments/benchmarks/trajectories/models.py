"""Trained potentials and the same weights averaged in other ways, and molecules to try them on."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, PyTree

from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.energies import Precision, enabled
from experiments.tasks.molecules.potential import Potential
from experiments.tasks.molecules.stored import load_potential
from experiments.tasks.registry import make_task


class Model(NamedTuple):
    """A trained potential, as it is averaged in one way.

    Attributes:
      name: the name of the run, and the values of the configuration that differ from it.
      potential: its energy.
      params: its parameters, in the precision of the run.
    """

    name: str
    potential: Potential
    params: PyTree[Array]


def load_models(
    folders: Sequence[RunFolder], also: Sequence[str], detached: bool, dtype: Precision
) -> list[Model]:
    """The models of runs, and the same parameters with other values of the model section.

    Args:
      folders: of the runs.
      also: each adds a model of every run: `key=value,key=value` of the section.
      detached: adds a model of every run with a frame that can be taken for constant.
      dtype: the precision of the parameters.

    Raises:
      UsageError: a run is not one on the energies of molecules, or a value does not fit it.
    """
    models = []
    names = [folder.path.resolve().name for folder in folders]
    for folder, short in zip(folders, names, strict=True):
        name = short if names.count(short) == 1 else str(folder.path)
        potential, params = load_potential(folder)
        with enabled(dtype):
            params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), dtype), params)
        models.append(Model(name, potential, params))
        changes = list(also)
        if detached and potential.config.frame in ("pca", "robust") and not potential.config.detach:
            changes.append("detach=true")
        for change in changes:
            config = folder.load_config([f"model.{setting}" for setting in change.split(",")])
            assert isinstance(config, MoleculesConfig)
            other = Potential(config.model, potential.facts, potential.targets)
            shapes = [
                jax.tree.map(jnp.shape, tree)
                for tree in (jax.eval_shape(other.init, jax.random.key(0)), params)
            ]
            if shapes[0] != shapes[1]:
                raise UsageError(
                    f"--also: must leave the parameters of {folder.path} as they are, as another "
                    f"frame does, got {change!r}"
                )
            words = "detached" if change == "detach=true" else change.replace(",", ", ")
            models.append(Model(f"{name}, {words}", other, params))
    return models


def molecule_of(folder: RunFolder, potential: Potential, index: int) -> Atoms:
    """A molecule of the test set of a run.

    Args:
      folder: of the run.
      potential: the potential that it has trained.
      index: of the molecule, from 0.

    Raises:
      UsageError: there is no such molecule.
    """
    test = make_task(folder.load_config()).splits["test"]
    count = len(test["species"])
    if index >= count:
        raise UsageError(
            f"--index: must be one of the test molecules of {folder.path}, 0 to {count - 1}, "
            f"got {index}"
        )
    species = test["species"][index]
    elements = np.array((0, *potential.facts.elements))
    real = species > 0
    return Atoms(elements[species[real]], test["positions"][index][real])
