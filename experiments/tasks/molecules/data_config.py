"""Where the molecules of a configuration come from."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from experiments.config.rules import ReadWith, Rule
from experiments.config.sections import Count, DataConfig, Positive, Seed
from experiments.tasks.molecules.choices import EMT_METALS, Source, Targets
from experiments.tasks.molecules.data.unit_names import known_unit, unit_names
from experiments.tasks.molecules.data.voigt_order import VOIGT_ORDER, places_of

_FILE = {"kind": ["file"]}
_SIMULATION = {"kind": ["tblite"]}
_SIMULATIONS = {"kind": ["tblite", "emt"]}
_COMPUTED = {"tblite": ("energy_forces", "energy", "dipole"), "emt": ("energy_forces", "energy")}
_STRESS_KEYS = ("stress_key", "virial_key")


def _learnt_from_files(*targets: str) -> Mapping[str, Sequence[str]]:
    return {"kind": ["file"], "targets": targets}


def _is_unit_of(quantity: str) -> Rule:
    def holds(data: DataConfig) -> bool:
        unit = getattr(data, f"{quantity}_unit")
        return unit is None or known_unit(quantity, unit) is not None

    return Rule(f"{quantity}_unit", f"be one of {', '.join(unit_names(quantity))}", holds)


def _is_default(data: DataConfig, key: str) -> bool:
    return getattr(data, key) == type(data).model_fields[key].default


def _needs_key(key: str, *others: str) -> Rule:
    def holds(data: DataConfig) -> bool:
        return _is_default(data, key) or any(getattr(data, other) is not None for other in others)

    return Rule(key, f"be left out without {' or '.join(others)}", holds)


class MoleculesDataConfig(DataConfig):
    """Where the molecules come from, and what is learnt about them."""

    kind: Source = "tblite"
    """Read files; simulate one molecule with GFN2-xTB, for which tblite must be installed; or make
    crystals and melts of alloys with effective-medium theory, whose stresses are learnt too."""
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
    stress_key: str | None = None
    """What files call the stress of periodic cells, with the sign of ASE, positive under tension.
    If it is given, stresses are learnt too."""
    virial_key: str | None = None
    """What files call the virial, minus the volume times the stress, in place of the stress."""
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
    stress_unit: str = "eV/Angstrom^3"
    """Unit of stresses in files: eV/Angstrom^3, hartree/bohr^3, GPa, MPa, kbar or bar."""
    virial_unit: str | None = None
    """Unit of virials in files; by default that of energies. A unit of stress, such as kbar, stands
    for virials over the volume, as VASP prints them."""
    voigt_order: str = VOIGT_ORDER
    """Order of stresses and virials that files have six components of, by default as in ASE. That
    of VASP is xx yy zz xy yz xz, that of LAMMPS xx yy zz xy xz yz."""
    molecule: str = "ethanol"
    """The molecule to simulate, by a common name or one of ase.build.molecule."""
    elements: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("Cu", "Au")
    """Elements of the alloys: of Al, Ni, Cu, Pd, Ag, Pt and Au."""
    temperature: Positive = 500.0
    """Temperature of the simulation in kelvin; of alloys the highest one."""
    steps_between: Count = 200
    """Steps of half a femtosecond from one snapshot of the simulation to the next."""
    cache: str = "runs/data"
    """Folder that keeps simulated snapshots, and files that are streamed."""
    streamed: bool = False
    """Whether training snapshots are read from files while it trains, and take no memory."""
    num_train: Count = 500
    """Number of training snapshots."""
    num_valid: Count = 100
    """Number of validation snapshots."""
    num_test: Count = 200
    """Number of test snapshots."""
    seed: Seed = 0
    """Seed of simulations, or of the choice of snapshots of a file."""

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
        **dict.fromkeys(_STRESS_KEYS, _learnt_from_files("energy_forces")),
        **dict.fromkeys(("molecule", "steps_between"), _SIMULATION),
        "temperature": _SIMULATIONS,
        "streamed": _FILE,
        "elements": {"kind": ["emt"]},
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "targets",
            "be 'energy_forces' or 'energy' with kind {section.kind!r}, or 'dipole' with 'tblite': no "
            "other is computed",
            lambda data: data.targets in _COMPUTED.get(data.kind, (data.targets,)),
        ),
        Rule(
            "elements",
            f"be of {', '.join(EMT_METALS)}, each once",
            lambda data: len(set(data.elements) & set(EMT_METALS)) == len(data.elements),
        ),
        Rule(
            "path",
            "be a file of molecules with kind 'file'",
            lambda data: data.kind != "file" or data.path is not None,
        ),
        Rule(
            "cache",
            "be left out with kind 'file' and without streamed",
            lambda data: data.kind != "file" or data.streamed or _is_default(data, "cache"),
        ),
        *map(
            _is_unit_of,
            ("energy", "length", "forces", "dipole", "polarizability", "stress", "virial"),
        ),
        Rule(
            "virial_key",
            "be left out beside stress_key, as one follows from the other",
            lambda data: data.virial_key is None or data.stress_key is None,
        ),
        _needs_key("stress_unit", "stress_key"),
        _needs_key("virial_unit", "virial_key"),
        _needs_key("voigt_order", *_STRESS_KEYS),
        Rule(
            "voigt_order",
            f"be the six components in an order, such as {VOIGT_ORDER}",
            lambda data: places_of(data.voigt_order) is not None,
        ),
    )
