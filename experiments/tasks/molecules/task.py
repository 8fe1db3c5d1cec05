"""Molecules: what energy, forces, dipole moment or polarizability do they have?"""

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from jaxtyping import Array, Bool, Float, Key, PyTree

import symjax_frames as sf
from experiments.frame_room import DRAWN
from experiments.tasks.equivariance import equivariance_errors, median_and_worst
from experiments.tasks.molecules.config import MoleculesConfig, MoleculesModelConfig
from experiments.tasks.molecules.crystals import (
    first_atoms,
    inputs_of,
    program_sizes,
    with_neighbours,
)
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.diagnostics import consistency_errors, net_torque
from experiments.tasks.molecules.energies import with_gradient
from experiments.tasks.molecules.local_potential import make_potential
from experiments.tasks.molecules.parts import in_parts
from experiments.tasks.molecules.potential import EnergiesAndSpreads, Potential
from experiments.tasks.molecules.quantities import QUANTITIES, UNITS_OF_ROOTS, main_quantity
from experiments.tasks.molecules.strain import Derivatives, derivatives_of, volumes
from experiments.training.task import Audited, Batch, Picture, Task

_AUDITED = 4
"""Test molecules that an audit looks at."""
_DRAWN = 200
"""Test molecules whose forces a report draws."""
_AT_A_TIME = 10
"""Molecules that are predicted at once for an audit or a report."""
_SOFT = 1e-3
"""Errors below it, in units of the scale of the targets, count as squares in the l1 loss."""

_net_torques = jax.jit(jax.vmap(net_torque))


class MoleculesTask(Task):
    """Predict the energies and forces, the dipole moments or the polarizabilities of molecules.

    Args:
      config: the configuration; `data`, `model`, the training loss and its weights are read.

    Attributes:
      set_facts: what the training set says: the elements, their energies, and a scale.
      potential: the network and its averages.
      trained_potential: the same while it trains, which may draw from a wider frame.
      targets: what is learnt.
      judged: the quantity, of `QUANTITIES`, whose error is the metric.
      predict_in_turn: `predict`, compiled, of a batch that would not fit into memory at once.

    Raises:
      ValueError: if the data cannot be had, or the model cannot be built as configured.
      UsageError: if a package that is needed is not installed.
    """

    def __init__(self, config: MoleculesConfig):
        self.config = config
        self.splits, self.set_facts = load_molecules(**config.data.model_dump())
        if "cell" in self.splits["train"]:
            self.splits = with_neighbours(self.splits, config.model)
        self.potential = self._potential(config.model)
        wider = config.model.in_training
        self.trained_potential = self.potential if wider == config.model else self._potential(wider)
        self.targets = config.data.targets
        self.judged = main_quantity(self.targets)
        self.metric = QUANTITIES[self.judged].metric
        batch_size = config.train.batch_size // config.train.gradient_parts
        self._sizes = program_sizes(self.splits["train"]["species"], batch_size)
        # In one vmap, the programs of all sizes would run for each seed.
        self.seeds_together = len(self._sizes) == 1
        # Compiled once for the parameters of all seeds.
        self.predict_in_turn = jax.jit(self._predict_in_turn)
        self._room = jax.jit(lambda batch: jax.vmap(self.potential.room)(*inputs_of(batch)))

    def _potential(self, model: MoleculesModelConfig) -> Potential:
        facts, config = self.set_facts, self.config
        return make_potential(model, facts, config.data.targets, config.train.precision)

    def facts(self) -> dict[str, Any]:
        """The elements, their energies and the scale of the training set."""
        return self.set_facts._asdict()

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        return self.potential.init(key)

    def check_room(self, split: str) -> None:
        """Refuses molecules whose robust frame has no room for its elements."""
        examples = self.splits[split]
        inputs, species = inputs_of(examples), examples["species"]
        numbers = np.array((0, *self.set_facts.elements))

        def label(index: int) -> str:
            formula = Formula.from_list([chemical_symbols[n] for n in numbers[species[index]] if n])
            return f"{split} molecule {index} ({formula.format('hill')})"

        self.potential.refuse_overflows(label, *inputs)
        if split == "train" and self.trained_potential is not self.potential:
            self.trained_potential.refuse_overflows(lambda index: label(index) + DRAWN, *inputs)

    def losses(
        self, params: PyTree[Array], batch: Batch, keys: Key[Array, " molecules"]
    ) -> Float[Array, " molecules"]:
        r"""For each molecule its errors in units of the scale $c$ of the targets.

        Formula: $\frac1N \sum_i p(\Delta F_i / c) + w \, p(\Delta E / c)$ with the energy weight
        $w$ and forces on $N$ atoms, and $p(\Delta y / c)$ of all else that is learnt, $y$. For the
        loss `mse` $p(v) = |v|^2$, for `l1` the length $|v|$, rounded off below 1e-3. With
        `energy_per_atom` $\Delta E$ is that of an atom; where stresses are learnt, the virial of an
        atom is added in the same way, with `stress_weight`.
        """
        # One program for each size: most batches have no structure as large as the largest.
        largest = jnp.max(jnp.sum(batch["species"] > 0, axis=1))
        programs = [
            lambda params, batch, keys, size=size: self._losses(
                params, first_atoms(batch, size), keys
            )
            for size in self._sizes
        ]
        if len(programs) == 1:
            return programs[0](params, batch, keys)
        which = jnp.searchsorted(jnp.asarray(self._sizes, largest.dtype), largest)
        return jax.lax.switch(which, programs, params, batch, keys)

    def _losses(
        self, params: PyTree[Array], batch: Batch, keys: Key[Array, " molecules"]
    ) -> Float[Array, " molecules"]:
        settings, scale = self.config.train, self.set_facts.scale
        model = functools.partial(self.trained_potential.trained_batch(params), keys)
        real = batch["species"] > 0

        def penalty(errors: Float[Array, "... components"]) -> Float[Array, "..."]:
            squares = jnp.sum((errors / scale) ** 2, axis=-1)
            # The root of zero has no derivative; the soft one is a length but near zero.
            return squares if settings.loss == "mse" else jnp.sqrt(squares + _SOFT**2) - _SOFT

        if self.targets != "energy_forces":
            errors = model(*inputs_of(batch)) - batch[self.targets]
            if self.targets == "energy":
                errors = errors / self._atoms_that_share(real)
            return penalty(errors.reshape(len(errors), -1))
        found = self._derivatives(lambda *batch: (model(*batch), {}), batch)
        atoms = jnp.maximum(jnp.sum(real, axis=1), 1).astype(found.energy.dtype)
        lengths = jnp.where(real, penalty(found.forces - batch["forces"]), 0)
        errors = (found.energy - batch["energy"]) / self._atoms_that_share(real)
        losses = jnp.sum(lengths, axis=1) / atoms
        losses += settings.energy_weight * penalty(errors[:, None])
        if "stress" in batch:
            virials = (found.stress - batch["stress"]) * volumes(batch["cell"])[:, None, None]
            of_atom = (virials / atoms[:, None, None]).reshape(len(atoms), 9)
            losses += settings.stress_weight * penalty(of_atom)
        return losses

    def _atoms_that_share(self, real: Bool[Array, "molecules atoms"]) -> Float[Array, " molecules"]:
        """What energies are divided by in the loss: the number of atoms, or one."""
        count = jnp.maximum(jnp.sum(real, axis=1), 1).astype(jnp.float32)
        return count if self.config.train.energy_per_atom else jnp.ones_like(count)

    def _derivatives(self, energies: EnergiesAndSpreads, batch: Batch) -> Derivatives:
        """Energies, forces and, of crystals, stresses of a batch."""
        inputs = inputs_of(batch)
        if len(inputs) == 3:
            return derivatives_of(energies)(*inputs)
        energy, slopes, others = with_gradient(energies)(*inputs)
        return Derivatives(energy, -slopes, jnp.zeros((len(energy), 3, 3), energy.dtype), others)

    def predict(self, params: PyTree[Array], batch: Batch) -> dict[str, Array]:
        """What the model that is averaged over its whole frame says.

        Returns:
          `energy` in eV above the references of the atoms, and `forces` in eV/Angstrom; or `dipole`
          in e*Angstrom, or `polarizability` in Angstrom^3.
        """
        return self._predicted(params, batch)[0]

    def _predicted(
        self, params: PyTree[Array], batch: Batch
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """What `predict` returns, and the spreads of energies in eV, by their names."""
        match self.targets:
            case "energy_forces":
                found = self._derivatives(self.potential.with_spreads(params), batch)
                values = {"energy": found.energy, "forces": found.forces}
                if "stress" in batch:
                    values["stress"] = found.stress
                return values, found.others
            case "energy":
                energy, spreads = self.potential.with_spreads(params)(*inputs_of(batch))
                return {"energy": energy}, spreads
        return {self.targets: self.potential.energies(params)(*inputs_of(batch))}, {}

    def _predict_in_turn(self, params: PyTree[Array], batch: Batch) -> dict[str, Array]:
        return in_parts(functools.partial(self.predict, params), batch, _AT_A_TIME)

    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """Mean absolute errors of each molecule, in the units that their names end in.

        Of forces and polarizabilities those of a component, of a dipole the length of its error.
        Beside them the spreads of energies, over frames and networks.
        """

        def size(name: str, error: Float[Array, "examples ..."]) -> Float[Array, " examples"]:
            match name:
                case "forces":
                    components = 3 * jnp.sum(batch["species"] > 0, axis=1).astype(jnp.float32)
                    return jnp.sum(jnp.abs(error), axis=(1, 2)) / components
                case "dipole":
                    return jnp.sqrt(jnp.sum(error**2, axis=1))
            return jnp.mean(jnp.abs(error), axis=tuple(range(1, error.ndim)))

        predicted, spreads = self._predicted(params, batch)
        errors = {
            QUANTITIES[name].metric: QUANTITIES[name].per_unit * size(name, value - batch[name])
            for name, value in predicted.items()
        }
        if self.targets == "energy_forces":
            errors |= _squares(predicted, batch)
        return errors | {f"{name}_meV": 1000 * value for name, value in spreads.items()}

    def summarized(self, means: Mapping[str, Float[Array, ""]]) -> dict[str, Float[Array, ""]]:
        """The metrics of a split, with roots of mean squares as they are published.

        Of energies these are of an atom, of forces and stresses of a component; stresses of what
        has a volume alone.
        """
        found = {name: value for name, value in means.items() if name not in _SQUARES}
        if "stress_components" in means:
            found[QUANTITIES["stress"].metric] /= means["stress_components"]
        for name, unit in UNITS_OF_ROOTS.items():
            if f"{name}_square" in means:
                mean = means[f"{name}_square"] / means.get(f"{name}_components", 1.0)
                found[f"{name}_rmse_{unit}"] = QUANTITIES[name].per_unit * jnp.sqrt(mean)
        return found

    def committee(self) -> "MoleculesTask":
        """This task with the mean of several networks: parameters have a leading axis `seed`."""
        together = copy.copy(self)
        together.potential = self.potential.committee()
        together.predict_in_turn = jax.jit(together._predict_in_turn)
        return together

    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """How far the model breaks its laws, on the median and on the worst molecule.

        Errors of its forces (of what else is learnt where there are no forces) under SE(3) and
        E(3), relative to the largest component or, where that is larger, the scale of the targets;
        and for forces, their difference from differences of the energy, relative to their length,
        and their net torque, relative to the sum of the moments; and for robust and local frames,
        the weight of the elements that did not fit. Crystals have no net torque.
        """
        keys = jax.random.split(key, len(batch["species"]))
        name = self.judged
        # Lattice vectors turn as vectors do.
        moved = {"positions": sf.points} | ({"cell": sf.vectors} if "cell" in batch else {})

        def predict(*turned: Array) -> Array:
            return self.predict_in_turn(params, batch | dict(zip(moved, turned, strict=True)))[name]

        errors = equivariance_errors(
            predict,
            [batch[name] for name in moved],
            keys,
            {"SE(3)": sf.special_euclidean(3), "E(3)": sf.euclidean(3)},
            in_actions=tuple(moved.values()),
            out_actions=QUANTITIES[name].action,
            floor=self.set_facts.scale,
        )
        by_law: dict[str, np.ndarray | Array] = dict(errors)
        if self.config.model.frame in ("robust", "local"):
            by_law["dropped weight"] = self._room(batch).dropped
        if name == "forces":
            if "cell" not in batch:
                forces = self.predict_in_turn(params, batch)["forces"]
                by_law["net torque"] = _net_torques(batch["positions"], batch["species"], forces)
            by_law["energy-force"] = consistency_errors(self.potential, params, keys, batch)
        return median_and_worst(by_law)

    def audited(self, params: PyTree[Array]) -> Audited:
        """The model as it is evaluated, on the first test molecules, without their padding."""
        test = self.splits["test"]
        clouds = {}
        for index in range(min(_AUDITED, len(test["species"]))):
            real = test["species"][index] > 0
            clouds[f"test molecule {index}"] = (
                jnp.asarray(test["positions"][index][real]),
                jnp.asarray(test["species"][index][real]),
            )
        out = None if "energy" in self.targets else QUANTITIES[self.targets].action
        return Audited(
            jax.jit(self.potential.energy(params)),
            clouds,
            lambda molecule: molecule,
            in_actions=(sf.points, None),
            out_actions=out,
            group=self.config.model.group,
        )

    def report(self, params: PyTree[Array], folder: Path) -> list[Picture]:
        """Draws predictions against what the data say; forces on an interactive page too.

        Beside the quantity whose error is the metric, energies of an atom, forces and stresses.
        """
        # Matplotlib takes a second to load, which training need not wait for.
        from experiments.tasks.molecules.report import draw_report

        batch = {name: jnp.asarray(array[:_DRAWN]) for name, array in self.splits["test"].items()}
        predicted = self.predict_in_turn(params, batch)
        return draw_report(
            folder,
            self.judged,
            reference={name: np.asarray(batch[name]) for name in predicted},
            predicted={name: np.asarray(values) for name, values in predicted.items()},
            species=np.asarray(batch["species"]),
            elements=self.set_facts.elements,
        )


_SQUARES = (
    *("energy_square", "forces_square", "forces_components"),
    *("stress_square", "stress_components"),
)


def _squares(predicted: dict[str, Array], batch: Batch) -> dict[str, Float[Array, " molecules"]]:
    """What roots of mean squares are made of: of atoms, of all components, and of one on the mean."""
    real = batch["species"] > 0
    atoms = jnp.sum(real, axis=1).astype(jnp.float32)
    errors = {name: value - batch[name] for name, value in predicted.items()}
    found = {
        "energy_square": (errors["energy"] / atoms) ** 2,
        "forces_square": jnp.sum(jnp.where(real[..., None], errors["forces"], 0) ** 2, axis=(1, 2)),
        "forces_components": 3 * atoms,
    }
    if "stress" in errors:
        found["stress_square"] = jnp.mean(errors["stress"] ** 2, axis=(1, 2))
        # Slabs and molecules beside crystals have no volume, and no stress.
        found["stress_components"] = (volumes(batch["cell"]) > 0).astype(jnp.float32)
    return found
