"""Where the molecules of a configuration come from."""

from typing import Literal, Self

from pydantic import model_validator

from experiments.config.sections import Count, DataConfig, Positive, Seed
from experiments.errors import UsageError
from experiments.tasks.molecules.data.units import stated_units

_OF_FILES = (
    *("path", "valid_path", "test_path", "train_split", "valid_split", "test_split"),
    *("energy_key", "forces_key", "dipole_key", "polarizability_key"),
    *("energy_unit", "length_unit", "forces_unit", "dipole_unit", "polarizability_unit"),
)
# Lengths are read whatever is learnt.
_OF_TARGETS = {
    "energy_forces": ("energy_key", "energy_unit", "forces_key", "forces_unit"),
    "energy": ("energy_key", "energy_unit"),
    "dipole": ("dipole_key", "dipole_unit"),
    "polarizability": ("polarizability_key", "polarizability_unit"),
}
_OF_SIMULATIONS = ("molecule", "temperature", "steps_between", "cache")


class MoleculesDataConfig(DataConfig):
    """Where the molecules come from, and what is learnt about them."""

    kind: Literal["file", "tblite"] = "tblite"
    """Read files, or simulate one molecule with GFN2-xTB, for which tblite must be installed."""
    targets: Literal["energy_forces", "energy", "dipole", "polarizability"] = "energy_forces"
    """What is learnt."""
    path: str | None = None
    """File of the training molecules: `.npz`, or a kind that ASE reads. Sets that are named no file
    or split of their own are cut from it at random, which is no test of another trajectory."""
    valid_path: str | None = None
    """File of the validation molecules; by default `path`."""
    test_path: str | None = None
    """File of the test molecules; by default `path`."""
    train_split: str | None = None
    """End of the array names of the training set in an `.npz` file: `train` for `R_train`."""
    valid_split: str | None = None
    """End of the array names of the validation set; by default the training set is cut."""
    test_split: str | None = None
    """End of the array names of the test set; by default the training set is cut."""
    energy_key: str = "energy"
    """What files call the energy."""
    forces_key: str = "forces"
    """What files call the forces."""
    dipole_key: str = "dipole"
    """What files call the dipole moment; that of an ion depends on the origin, and is not learnt."""
    polarizability_key: str = "polarizability"
    """What files call the polarizability, a matrix of three rows."""
    energy_unit: str = "eV"
    """Unit of energies in files: eV, meV, kcal/mol, kJ/mol or hartree."""
    length_unit: str = "Angstrom"
    """Unit of lengths in files: Angstrom, bohr or nm."""
    forces_unit: str | None = None
    """Unit of forces in files, such as kcal/mol/Angstrom; by default that of the two above."""
    dipole_unit: str = "e*Angstrom"
    """Unit of dipole moments in files: e*Angstrom, Debye or e*bohr."""
    polarizability_unit: str = "Angstrom^3"
    """Unit of polarizabilities in files: Angstrom^3 or bohr^3."""
    molecule: str = "ethanol"
    """The molecule to simulate, by a common name or one of ase.build.molecule."""
    temperature: Positive = 500.0
    """Temperature of the simulation in kelvin."""
    steps_between: Count = 200
    """Steps of half a femtosecond from one frame of the simulation to the next."""
    cache: str = "runs/data"
    """Folder that keeps simulated frames."""
    num_train: Count = 500
    """Number of training frames."""
    num_valid: Count = 100
    """Number of validation frames."""
    num_test: Count = 200
    """Number of test frames."""
    seed: Seed = 0
    """Seed of the simulation, or of the choice of frames of a file."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        conflicts = []
        unread, other = (_OF_SIMULATIONS, "tblite") if self.kind == "file" else (_OF_FILES, "file")
        fields = type(self).model_fields
        for key in unread:
            if getattr(self, key) != fields[key].default:
                conflicts.append(
                    f"{key}: received {getattr(self, key)!r} with kind {self.kind!r}, which does "
                    f"not read it; allowed: leave it out, or kind {other!r}"
                )
        others = {key for keys in _OF_TARGETS.values() for key in keys}
        for key in sorted(others - set(_OF_TARGETS[self.targets])):
            if self.kind == "file" and getattr(self, key) != fields[key].default:
                conflicts.append(
                    f"{key}: received {getattr(self, key)!r} with targets {self.targets!r}, which do "
                    "not read it; allowed: leave it out"
                )
        try:
            stated_units(
                self.energy_unit,
                self.length_unit,
                self.forces_unit,
                self.dipole_unit,
                self.polarizability_unit,
            )
        except UsageError as error:
            conflicts.append(str(error))
        if self.kind == "tblite" and self.targets == "polarizability":
            conflicts.append(
                "targets: received 'polarizability' with kind 'tblite', which computes none; allowed: "
                "'energy_forces', 'energy' or 'dipole', or kind 'file'"
            )
        if self.kind == "file" and self.path is None:
            conflicts.append(
                "path: received None with kind 'file'; allowed: a file of molecules, or kind "
                "'tblite', which needs none"
            )
        if conflicts:
            raise ValueError("\n".join(conflicts))
        return self
