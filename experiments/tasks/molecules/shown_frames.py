"""A molecule with its frames as coordinate systems: printed as tables, drawn, and on a page."""

import argparse

import jax
import numpy as np
from ase import Atoms
from rich.console import Console

from experiments.errors import UsageError
from experiments.table import print_table
from experiments.tasks.molecules.data.names import read_molecule
from experiments.tasks.molecules.figures.drawn_frame import DrawnFrame, fraction
from experiments.tasks.molecules.figures.molecule import molecule_frames
from experiments.tasks.molecules.figures.page import interactive_frames
from experiments.tasks.molecules.measured_frames import measured_frame

_MOST_ATOMS = 200


def show_frames(options: argparse.Namespace, console: Console) -> None:
    """Prints the frames of a molecule as tables, and draws them as PNG and HTML.

    Args:
      options: `molecule`, `split`, `out`, `frame` and `group`.
      console: where to print.

    Raises:
      UsageError: there is no such molecule, it has too many atoms, its file cannot be read, or the
        folder cannot be written.
    """
    name, atoms = read_molecule(options.molecule, options.split)
    if not 1 <= len(atoms) <= _MOST_ATOMS:
        raise UsageError(
            f"{options.molecule}: must have 1 to {_MOST_ATOMS} atoms, got {len(atoms)}"
        )
    atom_names = [f"{symbol}{number}" for number, symbol in enumerate(atoms.symbols, start=1)]
    kinds = ("pca", "robust") if options.frame is None else (options.frame,)
    with jax.enable_x64(True):
        frames = [measured_frame(kind, options.group, atoms, atom_names) for kind in kinds]
    for frame in frames:
        _print(console, frame)
    title = _title(name, atoms)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for ending, draw in ((".png", molecule_frames), (".html", interactive_frames)):
            path = options.out / f"{stem}{ending}"
            draw(path, title, atoms.positions, atoms.numbers, atom_names, frames)
            console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    except OSError as error:
        raise UsageError(
            f"--out: must be a folder that can be written, got {options.out} ({error.strerror})"
        ) from None


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
    kind = "atoms" if frame.name.startswith("robust") else "signs"
    print_table(console, ["element", kind, "weight", "det", "form", "e1", "e2", "e3"], rows)
    origin = ", ".join(f"{part:.4f}" for part in frame.shift[0].round(4) + 0.0)
    console.print(f"origin t = ({origin})\n", soft_wrap=True, highlight=False)


def _title(name: str, atoms: Atoms) -> str:
    formula = atoms.get_chemical_formula().translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
    name = formula if name == atoms.get_chemical_formula() else name
    return name if name == formula else f"{name}, {formula}"
