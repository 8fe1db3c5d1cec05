"""A molecule, or what an atom sees, with its frames: as tables, a picture and a page."""

import argparse
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from rich.console import Console

from experiments.errors import UsageError
from experiments.table import print_table
from experiments.tasks.molecules.data.names import read_molecule
from experiments.tasks.molecules.data.structures import read_structure
from experiments.tasks.molecules.environment import environment_of
from experiments.tasks.molecules.figures.drawn_frame import NO_CELL, DrawnFrame, fraction
from experiments.tasks.molecules.figures.molecule import molecule_frames
from experiments.tasks.molecules.figures.page import interactive_frames
from experiments.tasks.molecules.measured_frames import measured_frame
from experiments.tasks.molecules.measured_local_frame import measured_local_frame

_MOST_ATOMS = 200
_ATOM, _CUTOFF = 1, 5.0
"""Of a local frame: the atom, and how far it sees in angstrom, unless something else is asked."""


class _Drawing(NamedTuple):
    """What is drawn: the name of its files and its title, atoms and frames, and lines of a cell."""

    stem: str
    title: str
    positions: np.ndarray
    numbers: np.ndarray
    names: list[str]
    frames: list[DrawnFrame]
    cell: np.ndarray = NO_CELL
    noun: str = "molecule"


def show_frames(options: argparse.Namespace, console: Console) -> None:
    """Prints the frames of a molecule or of an atom as tables, and draws them as PNG and HTML.

    Args:
      options: `molecule`, `split`, `out`, `frame` and `group`, and of local frames `atom` and
        `cutoff`.
      console: where to print.

    Raises:
      UsageError: there is no such structure or atom, there are too many atoms, options do not go
        together, the file cannot be read, or the folder cannot be written.
    """
    if options.frame == "local":
        drawing = _of_an_atom(options, console)
    else:
        drawing = _of_a_molecule(options)
    for frame in drawing.frames:
        _print(console, frame)
    stem = "".join(
        letter if letter.isalnum() or letter in "-_." else "_" for letter in drawing.stem
    )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for ending, draw in ((".png", molecule_frames), (".html", interactive_frames)):
            path = options.out / f"{stem}{ending}"
            draw(
                path,
                drawing.title,
                drawing.positions,
                drawing.numbers,
                drawing.names,
                drawing.frames,
                cell=drawing.cell,
                noun=drawing.noun,
            )
            console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    except OSError as error:
        raise UsageError(
            f"--out: must be a folder that can be written, got {options.out} ({error.strerror})"
        ) from None


def _of_a_molecule(options: argparse.Namespace) -> _Drawing:
    for name in ("atom", "cutoff"):
        if (value := getattr(options, name)) is not None:
            raise UsageError(f"--{name}: must come with --frame local, got {value}")
    name, atoms = read_molecule(options.molecule, options.split)
    if not 1 <= len(atoms) <= _MOST_ATOMS:
        raise UsageError(
            f"{options.molecule}: must have 1 to {_MOST_ATOMS} atoms, got {len(atoms)}"
        )
    atom_names = [f"{symbol}{number}" for number, symbol in enumerate(atoms.symbols, start=1)]
    kinds = ("pca", "robust") if options.frame is None else (options.frame,)
    with jax.enable_x64(True):
        frames = [measured_frame(kind, options.group, atoms, atom_names) for kind in kinds]
    return _Drawing(name, _title(name, atoms), atoms.positions, atoms.numbers, atom_names, frames)


def _of_an_atom(options: argparse.Namespace, console: Console) -> _Drawing:
    name, atoms = read_structure(options.molecule, options.split)
    number = _ATOM if options.atom is None else options.atom
    cutoff = _CUTOFF if options.cutoff is None else options.cutoff
    seen = environment_of(options.molecule, atoms, number, cutoff)
    with jax.enable_x64(True):
        frame = measured_local_frame(options.group, seen)
    distances = np.linalg.norm(seen.vectors, axis=1)
    rows = [
        [label, atom, " ".join(f"{part:2d}" for part in image), f"{distance:.4f}"]
        for label, atom, image, distance in zip(
            seen.labels[1:], seen.atoms, seen.images.tolist(), distances, strict=True
        )
    ]
    print_table(console, ["neighbour", "atom", "image", "distance"], rows)
    title = f"{name}: what {seen.name} sees within {cutoff:g} Å"
    points = seen.positions, seen.numbers, seen.labels
    return _Drawing(f"{name}_atom_{number}", title, *points, [frame], seen.cell, "environment")


def _print(console: Console, frame: DrawnFrame) -> None:
    for line in (frame.name, *frame.notes, frame.warning):
        if line:
            console.print(line, soft_wrap=True, highlight=False)
    rows = [
        [
            str(number),
            label,
            fraction(weight),
            f"{np.linalg.det(linear):+.0f}",
            str(form),
            *(" ".join(f"{part:6.3f}" for part in column.round(3) + 0.0) for column in linear.T),
        ]
        for number, (label, weight, form, linear) in enumerate(
            zip(frame.labels, frame.weights, frame.forms, frame.linear, strict=True), start=1
        )
    ]
    kind = "atoms" if frame.name.startswith(("robust", "local")) else "signs"
    print_table(console, ["element", kind, "weight", "det", "form", "e1", "e2", "e3"], rows)
    origin = ", ".join(f"{part:.4f}" for part in frame.shift[0].round(4) + 0.0)
    console.print(f"origin t = ({origin})\n", soft_wrap=True, highlight=False)


def _title(name: str, atoms: Atoms) -> str:
    formula = atoms.get_chemical_formula().translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
    name = formula if name == atoms.get_chemical_formula() else name
    return name if name == formula else f"{name}, {formula}"
