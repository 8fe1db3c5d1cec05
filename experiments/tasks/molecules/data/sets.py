"""The splits of a set of molecules: read from files or simulated, ready to be learnt from."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from experiments.data.cache import Arrays
from experiments.data.checks import check_counts
from experiments.errors import UsageError
from experiments.tasks.molecules.choices import Source, Targets
from experiments.tasks.molecules.data.alloys import simulate_alloys
from experiments.tasks.molecules.data.copies import warn_of_copies
from experiments.tasks.molecules.data.draw import Place, Pool, drawn
from experiments.tasks.molecules.data.examples import Part, make_examples
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.data.molecules import Molecules, snapshots_at
from experiments.tasks.molecules.data.read import read_wanted
from experiments.tasks.molecules.data.simulate import simulate_molecule
from experiments.tasks.molecules.data.streamed import streamed_molecules
from experiments.tasks.molecules.data.voigt_order import VOIGT_ORDER
from experiments.tasks.molecules.data.windows import wanted_quantities

_NEEDED: dict[Targets, tuple[str, ...]] = {
    "energy_forces": ("energies", "forces"),
    "energy": ("energies",),
    "dipole": ("dipoles",),
    "polarizability": ("polarizabilities",),
}
_GAP = 4000
"""Steps between the blocks of a simulation: 2 ps, four times what an internal rotation takes."""


def load_molecules(
    *,
    kind: Source,
    targets: Targets,
    num_train: int,
    num_valid: int,
    num_test: int,
    seed: int,
    path: str | None = None,
    valid_path: str | None = None,
    test_path: str | None = None,
    train_split: str | None = None,
    valid_split: str | None = None,
    test_split: str | None = None,
    species_key: str | None = None,
    energy_key: str = "energy",
    forces_key: str = "forces",
    dipole_key: str = "dipole",
    polarizability_key: str = "polarizability",
    stress_key: str | None = None,
    virial_key: str | None = None,
    energy_unit: str = "eV",
    length_unit: str = "Angstrom",
    forces_unit: str | None = None,
    dipole_unit: str = "e*Angstrom",
    polarizability_unit: str = "Angstrom^3",
    stress_unit: str = "eV/Angstrom^3",
    virial_unit: str | None = None,
    voigt_order: str = VOIGT_ORDER,
    molecule: str = "ethanol",
    elements: Sequence[str] = ("Cu", "Au"),
    temperature: float = 500.0,
    steps_between: int = 200,
    cache: str = "runs/data",
    streamed: bool = False,
) -> tuple[dict[str, Arrays], MoleculeFacts]:
    """Three sets of molecules, in eV and Angstrom.

    The seed draws an order of the snapshots of a file. The first `num_train` are the training set;
    the next ones are the other sets, unless these have a file or split of their own. Snapshots that
    follow each other in a simulation are alike: they share torsions, which take hundreds of
    femtoseconds to change. So a simulation is cut in blocks, with 2 ps that are thrown away between
    them: the test set, the validation set, and at the end the training set, so that more training
    snapshots leave the other sets as they are. Snapshots of alloys do not depend on each other, and
    nothing is thrown away.

    Args:
      kind: `"file"`, `"tblite"` for a simulation of a molecule, or `"emt"` for alloys, whose
        stresses are learnt beside forces. Each reads its own arguments of those below.
      targets: what is learnt, which must be there; nothing else is read.
      num_train: snapshots to train on.
      num_valid: snapshots to select by.
      num_test: snapshots to report on.
      seed: of the order, or of the simulation.
      path: file of the training set, as `read_molecules` reads it.
      valid_path: file of the validation set; `None` for `path`.
      test_path: file of the test set; `None` for `path`.
      train_split: end of the names of arrays in an `.npz` file.
      valid_split: the same of the validation set; `None` for the training set, if in one file.
      test_split: the same of the test set; `None` for the training set, if in one file.
      species_key: what `.npz` files call the atomic numbers; `None` for a usual name.
      energy_key: what files call the energy.
      forces_key: what files call the forces.
      dipole_key: what files call the dipole moment.
      polarizability_key: what files call the polarizability.
      stress_key: what files call the stress, to learn it too; `None` for nothing.
      virial_key: what files call the virial, which the stress is computed from; `None` for nothing.
      energy_unit: unit of energies in files.
      length_unit: unit of lengths in files.
      forces_unit: unit of forces in files; `None` for that of the two above.
      dipole_unit: unit of dipole moments in files.
      polarizability_unit: unit of polarizabilities in files.
      stress_unit: unit of stresses in files.
      virial_unit: unit of virials in files; `None` for that of energies.
      voigt_order: order of six components of stresses and virials in files.
      molecule: what to simulate, as `simulate_molecule` understands it.
      elements: of the alloys, as `simulate_alloys` takes them.
      temperature: of the simulation, in kelvin; of alloys the highest one.
      steps_between: steps of the simulation from one snapshot to the next.
      cache: the folder that keeps simulated snapshots, and files that are streamed.
      streamed: whether training snapshots of files stay in files that are made of them once, mapped
        into memory.

    Returns:
      `"train"`, `"valid"` and `"test"` to arrays, and what the training set says. The arrays are
      `positions` `(snapshots, atoms, 3)` about the mean of the atoms, and, as targets say, `energy`
      `(snapshots,)` minus the references, `forces` `(snapshots, atoms, 3)`, `dipole`
      `(snapshots, 3)` and `polarizability` `(snapshots, 3, 3)`, all float32; and `species`
      `(snapshots, atoms)`, int32, 1 for the first of the elements. They are padded at the end, with
      zeros, to the largest molecule of the three sets. If any snapshot of the three is periodic,
      there are `cell` `(snapshots, 3, 3)`, float32, lattice vectors in rows and zeros where there
      are none, and `pbc` `(snapshots, 3)`, bool; and if stresses are learnt, `stress`
      `(snapshots, 3, 3)` in eV/Angstrom^3, positive under tension.

    Raises:
      UsageError: an argument is out of range, or tblite is missing.
      DataError: a defect of a file, too few snapshots, or an element that the training set lacks.
    """
    counts = {"train": num_train, "valid": num_valid, "test": num_test}
    check_counts(counts)
    need = _NEEDED[targets]
    learns_stress = kind == "emt" and targets == "energy_forces"
    if learns_stress or stress_key is not None or virial_key is not None:
        need = (*need, "stresses")
    if kind == "tblite":
        simulate = partial(
            simulate_molecule,
            molecule,
            temperature=temperature,
            seed=seed,
            steps_between=steps_between,
            cache=cache,
        )
        parts = _blocks(molecule, simulate, counts, -(-_GAP // max(1, steps_between)), need)
    elif kind == "emt":
        simulate = partial(
            simulate_alloys, elements, temperature=temperature, seed=seed, cache=cache
        )
        parts = _blocks(f"EMT of {', '.join(elements)}", simulate, counts, 0, need)
    elif path is None:
        raise UsageError("path must be a file of molecules with kind 'file', got None")
    else:
        wanted = wanted_quantities(
            energy_key=energy_key if "energies" in need else None,
            forces_key=forces_key if "forces" in need else None,
            dipole_key=dipole_key if "dipoles" in need else None,
            polarizability_key=polarizability_key if "polarizabilities" in need else None,
            stress_key=stress_key,
            virial_key=virial_key,
            energy_unit=energy_unit,
            length_unit=length_unit,
            forces_unit=forces_unit,
            dipole_unit=dipole_unit,
            polarizability_unit=polarizability_unit,
            stress_unit=stress_unit,
            virial_unit=virial_unit,
            voigt_order=voigt_order,
            need=need,
        )
        places: dict[str, Place] = {
            "train": (path, train_split),
            "valid": (valid_path or path, valid_split or (None if valid_path else train_split)),
            "test": (test_path or path, test_split or (None if test_path else train_split)),
        }
        if streamed:
            return streamed_molecules(
                places, wanted, counts, seed=seed, species_key=species_key, cache=cache
            )

        def read(path: str, split: str | None) -> Pool:
            whole = read_wanted(path, wanted, split, species_key)
            return Pool(len(whole.species), partial(snapshots_at, whole, need))

        parts = drawn(places, read, counts, seed)
        for split in ("valid", "test"):
            warn_of_copies(split, parts[split], parts["train"])
    return make_examples(parts)


def _blocks(
    name: str,
    simulate: Callable[..., Molecules],
    counts: Mapping[str, int],
    gap: int,
    need: Sequence[str],
) -> dict[str, Part]:
    starts = {"test": 0, "valid": counts["test"] + gap}
    starts["train"] = starts["valid"] + counts["valid"] + gap
    whole = simulate(snapshots=starts["train"] + counts["train"])
    parts = {}
    for split, count in counts.items():
        numbers = np.arange(starts[split], starts[split] + count)
        parts[split] = Part(name, numbers, snapshots_at(whole, need, numbers))
    return parts
