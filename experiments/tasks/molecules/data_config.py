"""Where the molecules of a configuration come from."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from experiments.config.rules import ReadWith, Rule
from experiments.config.sections import Count, DataConfig, Positive, Seed
from experiments.tasks.molecules.choices import Source, Targets
from experiments.tasks.molecules.data.unit_names import known_unit, unit_names

_FILE = {"kind": ["file"]}
_SIMULATION = {"kind": ["tblite"]}


def _learnt_from_files(*targets: str) -> Mapping[str, Sequence[str]]:
    return {"kind": ["file"], "targets": targets}


def _is_unit_of(quantity: str) -> Rule:
    def holds(data: DataConfig) -> bool:
        unit = getattr(data, f"{quantity}_unit")
        return unit is None or known_unit(quantity, unit) is not None

    return Rule(f"{quantity}_unit", f"be one of {', '.join(unit_names(quantity))}", holds)


class MoleculesDataConfig(DataConfig):
    """Where the molecules come from, and what is learnt about them."""

    kind: Source = "tblite"
    """Read files, or simulate one molecule with GFN2-xTB, for which tblite must be installed."""
    targets: Targets = "energy_forces"
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
    species_key: str | None = None
    """What `.npz` files call the atomic numbers; by default a usual name, such as z. In files as of
    QM9 these are charges."""
    energy_key: str = "energy"
    """What files call the energy."""
    forces_key: str = "forces"
    """What files call the forces."""
    dipole_key: str = "dipole"
    """What files call the dipole moment. That of an ion depends on the origin: it is not learnt."""
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
    """Steps of half a femtosecond from one snapshot of the simulation to the next."""
    cache: str = "runs/data"
    """Folder that keeps simulated snapshots."""
    num_train: Count = 500
    """Number of training snapshots."""
    num_valid: Count = 100
    """Number of validation snapshots."""
    num_test: Count = 200
    """Number of test snapshots."""
    seed: Seed = 0
    """Seed of the simulation, or of the choice of snapshots of a file."""

    read_with: ClassVar[ReadWith] = {
        **dict.fromkeys(("path", "valid_path", "test_path"), _FILE),
        **dict.fromkeys(("train_split", "valid_split", "test_split"), _FILE),
        # Atoms and lengths are read whatever is learnt.
        **dict.fromkeys(("species_key", "length_unit"), _FILE),
        "energy_key": _learnt_from_files("energy_forces", "energy"),
        "energy_unit": _learnt_from_files("energy_forces", "energy"),
        "forces_key": _learnt_from_files("energy_forces"),
        "forces_unit": _learnt_from_files("energy_forces"),
        "dipole_key": _learnt_from_files("dipole"),
        "dipole_unit": _learnt_from_files("dipole"),
        "polarizability_key": _learnt_from_files("polarizability"),
        "polarizability_unit": _learnt_from_files("polarizability"),
        **dict.fromkeys(("molecule", "temperature", "steps_between", "cache"), _SIMULATION),
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "targets",
            "be 'energy_forces', 'energy' or 'dipole' with kind 'tblite', which computes no other",
            lambda data: data.kind == "file" or data.targets != "polarizability",
        ),
        Rule(
            "path",
            "be a file of molecules with kind 'file'",
            lambda data: data.kind != "file" or data.path is not None,
        ),
        *map(_is_unit_of, ("energy", "length", "forces", "dipole", "polarizability")),
    )
