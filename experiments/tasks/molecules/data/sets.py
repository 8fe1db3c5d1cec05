"""The splits of a set of molecules: read from files or simulated, ready to be learnt from."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float64, Int

from experiments.data.cache import Arrays
from experiments.data.checks import check_counts, finite_single
from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.read import Molecules, read_molecules
from experiments.tasks.molecules.data.simulate import simulate_molecule

Targets = Literal["energy_forces", "energy", "dipole", "polarizability"]

_NEEDED: dict[Targets, tuple[str, ...]] = {
    "energy_forces": ("energies", "forces"),
    "energy": ("energies",),
    "dipole": ("dipoles",),
    "polarizability": ("polarizabilities",),
}
_GAP = 4000
"""Steps between the blocks of a simulation: 2 ps, four times what an internal rotation takes."""
_NOTHING = 1e-6
"""In eV, eV/Angstrom or e*Angstrom: what no method computes to, so no scale of targets."""

_RANK = 1e-9
"""Singular values of compositions below it, relative to the largest, are rounding."""


class MoleculeFacts(NamedTuple):
    """What the training frames of a set say about it; plain numbers, to be stored as JSON.

    Attributes:
      elements: their atomic numbers, in rising order.
      references: energy of an atom of each element in eV: the sums over molecules that come closest
        to the energies in the mean square, and of those the smallest numbers; zeros without energies.
      scale: root mean square of what is learnt. With forces, of their components, in eV/Angstrom;
        of energies alone, of what the references leave over the square root of the number of
        atoms, in eV; of the components of dipoles, in e*Angstrom, and of polarizabilities, in
        Angstrom^3. 1 where that is below 1e-6.
      undetermined: the matrix that projects numbers of atoms of each element on what no training
        molecule has, so that references there are arbitrary: with all of one composition, as in a
        simulation, only its own energy is known. Empty without energies.
    """

    elements: tuple[int, ...]
    references: tuple[float, ...]
    scale: float
    undetermined: tuple[tuple[float, ...], ...] = ()


class _Part(NamedTuple):
    """The frames of a split, with the file and the places in it that they come from."""

    source: str
    places: Int[np.ndarray, " frames"]
    molecules: Molecules


def load_molecules(
    *,
    kind: Literal["file", "tblite"],
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
    energy_key: str = "energy",
    forces_key: str = "forces",
    dipole_key: str = "dipole",
    polarizability_key: str = "polarizability",
    energy_unit: str = "eV",
    length_unit: str = "Angstrom",
    forces_unit: str | None = None,
    dipole_unit: str = "e*Angstrom",
    polarizability_unit: str = "Angstrom^3",
    molecule: str = "ethanol",
    temperature: float = 500.0,
    steps_between: int = 200,
    cache: str = "runs/data",
) -> tuple[dict[str, Arrays], MoleculeFacts]:
    """Three sets of molecules, in eV and Angstrom.

    The frames of a file are put in an order that the seed draws; the first `num_train` are those to
    train on, and the next ones the other sets, as far as they are named no file or split of their
    own. Frames that follow each other in a simulation are alike: they share torsions, which take
    hundreds of femtoseconds to change. So a simulation is cut in blocks, with 2 ps that are thrown
    away between them: the test set, the validation set, and at the end the training set, so that
    more training frames leave the other sets as they are.

    Args:
      kind: `"file"` or `"tblite"`, for a simulation. Each reads its own arguments of those below.
      targets: what is learnt, which must be there; nothing else is read.
      num_train: frames to train on.
      num_valid: frames to select by.
      num_test: frames to report on.
      seed: of the order, or of the simulation.
      path: file of the training set, as `read_molecules` reads it.
      valid_path: file of the validation set; `None` for `path`.
      test_path: file of the test set; `None` for `path`.
      train_split: end of the names of arrays in an `.npz` file.
      valid_split: the same of the validation set; `None` for the training set, if in one file.
      test_split: the same of the test set; `None` for the training set, if in one file.
      energy_key: what files call the energy.
      forces_key: what files call the forces.
      dipole_key: what files call the dipole moment.
      polarizability_key: what files call the polarizability.
      energy_unit: unit of energies in files.
      length_unit: unit of lengths in files.
      forces_unit: unit of forces in files; `None` for that of the two above.
      dipole_unit: unit of dipole moments in files.
      polarizability_unit: unit of polarizabilities in files.
      molecule: what to simulate, as `simulate_molecule` understands it.
      temperature: of the simulation, in kelvin.
      steps_between: steps of the simulation from one frame to the next.
      cache: the folder that keeps simulated frames.

    Returns:
      `"train"`, `"valid"` and `"test"` to arrays, and what the training set says. The arrays are
      `positions` `(frames, atoms, 3)` about the mean of the atoms, and, as targets say, `energy`
      `(frames,)` minus the references, `forces` `(frames, atoms, 3)`, `dipole` `(frames, 3)` and
      `polarizability` `(frames, 3, 3)`, all
      float32; and `species` `(frames, atoms)`, int32, 1 for the first of the elements. They are
      padded at the end, with zeros, to the largest molecule of the three sets.

    Raises:
      UsageError: an argument is out of range, or tblite is missing.
      DataError: a defect of a file, too few frames, or an element that the training set lacks.
    """
    counts = {"train": num_train, "valid": num_valid, "test": num_test}
    check_counts(counts)
    need = _NEEDED[targets]
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
    elif path is None:
        raise UsageError("path is None with kind 'file'; allowed: a file of molecules")
    else:
        read = partial(
            read_molecules,
            energy_key=energy_key if "energies" in need else None,
            forces_key=forces_key if "forces" in need else None,
            dipole_key=dipole_key if "dipoles" in need else None,
            polarizability_key=polarizability_key if "polarizabilities" in need else None,
            energy_unit=energy_unit,
            length_unit=length_unit,
            forces_unit=forces_unit,
            dipole_unit=dipole_unit,
            polarizability_unit=polarizability_unit,
            need=need,
        )
        sources = {
            "train": (path, train_split),
            "valid": (valid_path or path, valid_split or (None if valid_path else train_split)),
            "test": (test_path or path, test_split or (None if test_path else train_split)),
        }
        parts = _drawn(sources, read, counts, seed, need)
    return _examples(parts)


def _blocks(
    name: str,
    simulate: Callable[..., Molecules],
    counts: Mapping[str, int],
    gap: int,
    need: Sequence[str],
) -> dict[str, _Part]:
    starts = {"test": 0, "valid": counts["test"] + gap}
    starts["train"] = starts["valid"] + counts["valid"] + gap
    whole = simulate(frames=starts["train"] + counts["train"])
    parts = {}
    for split, count in counts.items():
        places = np.arange(starts[split], starts[split] + count)
        parts[split] = _Part(name, places, _frames_at(whole, places, need))
    return parts


def _drawn(
    sources: Mapping[str, tuple[str, str | None]],
    read: Callable[..., Molecules],
    counts: Mapping[str, int],
    seed: int,
    need: Sequence[str],
) -> dict[str, _Part]:
    same: dict[tuple[Path, str | None], list[str]] = {}
    for split, (path, end) in sources.items():
        # Two names of one file are one source, or frames to train on would be tested on.
        same.setdefault((Path(path).resolve(), end), []).append(split)
    parts = {}
    for (_, end), splits in same.items():
        path = sources[splits[0]][0]
        whole = read(path, split=end)
        frames, asked = len(whole.species), sum(counts[split] for split in splits)
        name = path if end is None else f"{path}, split {end}"
        if frames < asked:
            received = " + ".join(f"num_{split} {counts[split]}" for split in splits)
            total = f" is {asked}" if len(splits) > 1 else ""
            raise DataError(
                f"{name}: has {frames} frames, but {received}{total}; allowed: at most {frames}"
                f"{' in all' if total else ''}"
            )
        order = np.random.default_rng(seed).permutation(frames)[:asked]
        ends = np.cumsum([counts[split] for split in splits])[:-1]
        for split, places in zip(splits, np.split(order, ends), strict=True):
            parts[split] = _Part(name, places, _frames_at(whole, places, need))
    return parts


def _frames_at(
    molecules: Molecules, places: Int[np.ndarray, " chosen"], need: Sequence[str]
) -> Molecules:
    species, positions, *_ = molecules
    names = Molecules._fields[2:]
    labels = (getattr(molecules, name)[places] if name in need else None for name in names)
    return Molecules(species[places], positions[places], *labels)


def _examples(parts: Mapping[str, _Part]) -> tuple[dict[str, Arrays], MoleculeFacts]:
    train = parts["train"].molecules
    elements = np.unique(train.species[train.species > 0])
    for split, part in parts.items():
        _refuse_strange(split, part, elements)
    facts = _facts(train, elements)
    atoms = max(int(np.sum(part.molecules.species > 0, axis=1).max()) for part in parts.values())
    splits = {}
    for split, (source, _, molecules) in parts.items():
        numbers = _padded(molecules.species, atoms)
        wanted = {"positions": _centred(numbers, _padded(molecules.positions, atoms))}
        if molecules.energies is not None:
            references = _composition(numbers, elements) @ np.array(facts.references)
            wanted["energy"] = molecules.energies - references
        if molecules.forces is not None:
            wanted["forces"] = _padded(molecules.forces, atoms)
        if molecules.dipoles is not None:
            wanted["dipole"] = molecules.dipoles
        if molecules.polarizabilities is not None:
            wanted["polarizability"] = molecules.polarizabilities
        arrays = {name: finite_single(source, name, array) for name, array in wanted.items()}
        places = np.where(numbers > 0, np.searchsorted(elements, numbers) + 1, 0)
        splits[split] = arrays | {"species": places.astype(np.int32)}
    return splits, facts


def _refuse_strange(split: str, part: _Part, elements: Int[np.ndarray, " elements"]) -> None:
    species = part.molecules.species
    strange = np.argwhere((species > 0) & ~np.isin(species, elements))
    if len(strange):
        frame, atom = strange[0]
        known = ", ".join(chemical_symbols[number] for number in elements)
        raise DataError(
            f"{part.source}: frame {part.places[frame] + 1}, which is for {split}: has the element "
            f"{chemical_symbols[species[frame, atom]]}, as {len(np.unique(strange[:, 0]))} of the "
            f"{len(species)} frames have one that no training frame has; allowed: {known}, or "
            "training frames with more elements (a larger num_train may have them)"
        )


def _facts(train: Molecules, elements: Int[np.ndarray, " elements"]) -> MoleculeFacts:
    real = train.species > 0
    references = np.zeros(len(elements))
    values, undetermined = np.zeros(1), np.zeros((0, len(elements)))
    if train.energies is not None:
        counts = _composition(train.species, elements)
        references = np.linalg.lstsq(counts, train.energies, rcond=None)[0]
        # Hundreds of equal rows leave rounding that looks like more of them.
        distinct = np.unique(counts, axis=0)
        undetermined = np.eye(len(elements)) - np.linalg.pinv(distinct, rcond=_RANK) @ distinct
        values = (train.energies - counts @ references) / np.sqrt(np.sum(real, axis=1))
    if train.forces is not None:
        values = train.forces[real]
    if train.dipoles is not None:
        values = train.dipoles
    if train.polarizabilities is not None:
        values = train.polarizabilities
    scale = float(np.sqrt(np.mean(values**2)))
    return MoleculeFacts(
        tuple(elements.tolist()),
        tuple(references.tolist()),
        scale if scale > _NOTHING else 1.0,
        # Zeros that are rounding are none.
        tuple(map(tuple, np.where(np.abs(undetermined) < _NOTHING, 0.0, undetermined).tolist())),
    )


def _composition(
    species: Int[np.ndarray, "frames atoms"], elements: Int[np.ndarray, " elements"]
) -> Float64[np.ndarray, "frames elements"]:
    return np.sum(species[..., None] == elements, axis=1, dtype=np.float64)


def _centred(
    species: Int[np.ndarray, "frames atoms"], positions: Float64[np.ndarray, "frames atoms 3"]
) -> Float64[np.ndarray, "frames atoms 3"]:
    real = (species > 0)[..., None]
    centres = np.mean(positions, axis=1, keepdims=True, where=real)
    return np.where(real, positions - centres, 0.0)


def _padded(array: np.ndarray, atoms: int) -> np.ndarray:
    missing = max(0, atoms - array.shape[1])
    return np.pad(array[:, :atoms], ((0, 0), (0, missing), *((0, 0),) * (array.ndim - 2)))
