"""Molecules: what energy, forces, dipole moment or polarizability do they have?"""

import copy
import functools
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Array, Float, Int, Key, PyTree

import symjax_frames as sf
from experiments import figures
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.diagnostics import (
    consistency_errors,
    equivariance_errors,
    net_torque,
)
from experiments.tasks.molecules.potential import ACTIONS, Committee, Potential, forces_of
from experiments.training.task import Audited, Batch, Picture, Task

_AUDITED = 4
"""Test molecules that an audit looks at."""
_DRAWN = 200
"""Test molecules whose forces a report draws."""
_AT_A_TIME = 10
"""Molecules that are predicted at once for an audit or a report."""
_DROPPED = 1e-3
"""Lost weight of a frame that is warned of."""
_MILLI = 1000.0
_DEBYE = 0.20819434
"""In elementary charges times Angstrom."""
_SOFT = 1e-3
"""Errors below it, in units of the scale of the targets, count as squares in the l1 loss."""


class MoleculesTask(Task):
    """Predict the energies and forces, the dipole moments or the polarizabilities of molecules.

    Args:
      config: the configuration; `data`, `model`, the training loss and its weights are read.

    Raises:
      ValueError: if the data cannot be had, or the model cannot be built as configured.
      UsageError: if a package that is needed is not installed.
    """

    def __init__(self, config: MoleculesConfig):
        self.config = config
        self.splits, self.learnt = load_molecules(**config.data.model_dump())
        self.potential = Potential(config.model, self.learnt, config.data.targets)
        self.targets = config.data.targets
        self.metric = {
            "energy_forces": "forces_meV_A",
            "energy": "energy_meV",
            "dipole": "dipole_mD",
            "polarizability": "polarizability_A3",
        }[self.targets]
        self._slowly = jax.jit(self._predict_in_turn)

    def facts(self) -> dict[str, Any]:
        """The elements, their energies and the scale of the training set."""
        return self.learnt._asdict()

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        return self.potential.init(key)

    def loss(self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        r"""Mean over the molecules of errors in units of the scale $c$ of the targets.

        Formula: $\frac1N \sum_i p(\Delta F_i / c) + w \, p(\Delta E / c)$ with the energy weight $w$ and
        forces on $N$ atoms, and $p(\Delta y / c)$ of all else that is learnt, $y$. For the loss `mse`
        $p(v) = |v|^2$, for `l1` the length $|v|$, rounded off below 1e-3.
        """
        settings, scale = self.config.train, self.learnt.scale
        model = self.potential.trained(params)
        keys = jax.random.split(key, len(batch["species"]))

        def penalty(errors: Float[Array, "... components"]) -> Float[Array, "..."]:
            squares = jnp.sum((errors / scale) ** 2, axis=-1)
            # The root of zero has no derivative; the soft one is a length but near zero.
            return squares if settings.loss == "mse" else jnp.sqrt(squares + _SOFT**2) - _SOFT

        def of_one(key: Key[Array, ""], example: Batch) -> Float[Array, ""]:
            inputs = example["positions"], example["species"]
            of_draw = functools.partial(model, key)
            if self.targets != "energy_forces":
                return penalty(jnp.ravel(of_draw(*inputs) - example[self.targets]))
            energy, forces = forces_of(of_draw)(*inputs)
            real = example["species"] > 0
            lengths = jnp.where(real, penalty(forces - example["forces"]), 0)
            mean = jnp.sum(lengths) / jnp.maximum(jnp.sum(real), 1).astype(lengths.dtype)
            return mean + settings.energy_weight * penalty((energy - example["energy"])[None])

        return jnp.mean(jax.vmap(of_one)(keys, batch))

    def predict(self, params: PyTree[Array], batch: Batch) -> dict[str, Array]:
        """What the model that is averaged over its whole frame says.

        Returns:
          `energy` in eV above the references of the atoms, and `forces` in eV/Angstrom; or `dipole`
          in e*Angstrom, or `polarizability` in Angstrom^3.
        """
        model = self.potential.energy(params)
        inputs = batch["positions"], batch["species"]
        if self.targets != "energy_forces":
            return {self.targets: jax.vmap(model)(*inputs)}
        energy, forces = jax.vmap(forces_of(model))(*inputs)
        return {"energy": energy, "forces": forces}

    def _predict_in_turn(self, params: PyTree[Array], batch: Batch) -> dict[str, Array]:
        """The same of a batch that would not fit into memory at once."""
        alone = jax.tree.map(lambda each: each[:, None], batch)
        found = jax.lax.map(lambda one: self.predict(params, one), alone, batch_size=_AT_A_TIME)
        return {name: each[:, 0] for name, each in found.items()}

    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """Mean absolute errors of each molecule, in the units that their names end in.

        Of forces and polarizabilities those of a component, of a dipole the length of its error.
        """
        errors = {name: each - batch[name] for name, each in self.predict(params, batch).items()}
        metrics = {}
        if "energy" in errors:
            metrics["energy_meV"] = _MILLI * jnp.abs(errors["energy"])
        if "forces" in errors:
            components = 3 * jnp.sum(batch["species"] > 0, axis=1).astype(jnp.float32)
            total = jnp.sum(jnp.abs(errors["forces"]), axis=(1, 2))
            metrics["forces_meV_A"] = _MILLI * total / components
        if "dipole" in errors:
            length = jnp.sqrt(jnp.sum(errors["dipole"] ** 2, axis=1))
            metrics["dipole_mD"] = _MILLI / _DEBYE * length
        if "polarizability" in errors:
            metrics["polarizability_A3"] = jnp.mean(jnp.abs(errors["polarizability"]), axis=(1, 2))
        return metrics

    def committee(self) -> "MoleculesTask":
        """This task with the mean of several networks: parameters have a leading axis `seed`."""
        together = copy.copy(self)
        together.potential = Committee(self.config.model, self.learnt, self.targets)
        together._slowly = jax.jit(together._predict_in_turn)
        return together

    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """How far the model breaks its laws, on the median and on the worst molecule.

        Errors of its forces (of what else is learnt where there are no forces) under SE(3) and E(3),
        relative to the largest component or, where that is larger, the scale of the targets; and for
        forces, their difference from differences of the energy, relative to their length, and their
        net torque, relative to the sum of the moments; and for robust frames, the weight of the
        elements that did not fit.
        """
        keys = jax.random.split(key, len(batch["species"]))
        name = "forces" if self.targets == "energy_forces" else self.targets
        inputs = batch["positions"], batch["species"]
        each: dict[str, np.ndarray | Array] = {}
        for title, group in {"SE(3)": sf.special_euclidean(3), "E(3)": sf.euclidean(3)}.items():
            each[title] = equivariance_errors(
                lambda batch: self._slowly(params, batch)[name],
                batch,
                keys,
                group,
                ACTIONS.get(name),
                floor=self.learnt.scale,
            )
        if self.config.model.frame == "robust":
            dropped = np.asarray(jax.jit(jax.vmap(self.potential.dropped))(*inputs))
            each["dropped weight"] = dropped
            if dropped.max() > _DROPPED:
                warnings.warn(
                    f"test molecule {dropped.argmax()} loses {dropped.max():.2g} of the weight of its "
                    "frame, and is not invariant to that degree; allowed: a larger model.capacity or "
                    "model.choices",
                    stacklevel=2,
                )
        if name == "forces":
            forces = self._slowly(params, batch)["forces"]
            each["net torque"] = jax.vmap(net_torque)(*inputs, forces)
            each["energy-force"] = consistency_errors(self.potential, params, keys, batch)
        errors = {}
        for title, values in each.items():
            errors[title] = float(np.median(values))
            errors[f"{title} worst"] = float(np.max(values))
        return errors

    def audited(self, params: PyTree[Array]) -> Audited:
        """The model as it is evaluated, on the first test molecules, without their padding."""
        test = self.splits["test"]
        clouds = {}
        for place in range(min(_AUDITED, len(test["species"]))):
            real = test["species"][place] > 0
            clouds[f"test molecule {place}"] = (
                jnp.asarray(test["positions"][place][real]),
                jnp.asarray(test["species"][place][real]),
            )
        out = ACTIONS.get(self.targets)
        return Audited(
            jax.jit(self.potential.energy(params)),
            clouds,
            lambda molecule: molecule,
            in_actions=(sf.points, None),
            out_actions=out,
            group=self.config.model.group,
        )

    def report(self, params: PyTree[Array], folder: Path) -> list[Picture]:
        """Draws predictions against what the data say; forces on an interactive page too."""
        batch = {name: jnp.asarray(each[:_DRAWN]) for name, each in self.splits["test"].items()}
        predicted = jax.tree.map(np.asarray, self._slowly(params, batch))
        name, unit = {
            "energy_forces": ("forces", "eV/Å"),
            "energy": ("energy", "eV"),
            "dipole": ("dipole", "e Å"),
            "polarizability": ("polarizability", "Å³"),
        }[self.targets]
        reference, species = np.asarray(batch[name]), np.asarray(batch["species"])
        real = species > 0 if name == "forces" else np.ones(len(reference), bool)
        pair = reference[real].ravel(), predicted[name][real].ravel()
        path = folder / f"{name}.png"
        figures.predicted_against_reference(path, *pair, name=name, unit=unit)
        drawn = [(f"Predicted against reference {name}", path)]
        if name == "forces":
            points = self._force_points(reference, predicted[name], species)
            panel = figures.Panel(
                "forces on atoms", "reference, eV/Å", "predicted, eV/Å", points, parity=True
            )
            figures.interactive_curves(folder / "forces.html", "Forces", [panel])
            drawn.append(("Forces, interactive", folder / "forces.html"))
        return drawn

    def _force_points(
        self,
        reference: Float[np.ndarray, "examples atoms 3"],
        predicted: Float[np.ndarray, "examples atoms 3"],
        species: Int[np.ndarray, "examples atoms"],
    ) -> list[figures.Curve]:
        """The components of the forces, those on atoms of one element together."""
        curves = []
        for place, element in enumerate(self.learnt.elements, start=1):
            examples, atoms = np.nonzero(species == place)
            if not len(atoms):
                continue
            words = [
                f"test molecule {example}, atom {atom + 1}, {axis}"
                for example, atom in zip(examples, atoms, strict=True)
                for axis in "xyz"
            ]
            chosen = examples, atoms
            pair = reference[chosen].ravel(), predicted[chosen].ravel()
            curves.append(figures.Curve(chemical_symbols[element], *pair, words))
        return curves
