"""A molecule with its frames as coordinate systems: printed as tables, drawn, and on a page."""

import argparse
import difflib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import symjax_frames as sf
from experiments.errors import UsageError
from experiments.results.table import print_table
from experiments.tasks.molecules.figures.molecule import DrawnFrame, fraction, molecule_frames
from experiments.tasks.molecules.figures.page import interactive_frames

if TYPE_CHECKING:
    from ase import Atoms

_FORMULAS = {
    "pca": r"$F(x) = \{(V\,\mathrm{diag}(s),\ t)\}$",
    "robust": r"$F(x) = \{((e_1, e_2, e_3),\ t)\}$",
    "canonical": r"$F(x) = \{(V\,\mathrm{diag}(s),\ t)\}$",
}
_MEANINGS = {
    "pca": "V: principal axes; s: all signs",
    "robust": "axes through atoms; e₃: both signs",
    "canonical": "V: principal axes; s: of third moments",
}
_MOST_ATOMS = 200
_AMBIGUOUS = 1e-5
"""Relative gaps below this are symmetry: coordinates in files have six digits or so."""
_SAME = 1e-3
"""Canonical molecules closer than this, in angstrom or relative to their size, count as one, and weights
below it as none."""


def show_frames(options: argparse.Namespace, console: Console) -> None:
    """Prints the frames of a molecule as tables, and draws them as PNG and HTML.

    Args:
      options: `molecule`, `out`, `frame` and `group`.
      console: where to print.

    Raises:
      UsageError: there is no such molecule, the file cannot be read or drawn, or the folder not be
        written.
    """
    name, atoms = read_molecule(options.molecule, options.split)
    positions, numbers = atoms.positions, atoms.numbers
    atom_names = [f"{symbol}{place}" for place, symbol in enumerate(atoms.symbols, start=1)]
    kinds = ("pca", "robust") if options.frame is None else (options.frame,)
    with jax.enable_x64(True):
        frames = [_measure(kind, options.group, atoms, atom_names) for kind in kinds]
    for frame in frames:
        _print(console, frame)
    title = _title(name, atoms)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for ending, draw in ((".png", molecule_frames), (".html", interactive_frames)):
            path = options.out / f"{stem}{ending}"
            draw(path, title, positions, numbers, atom_names, frames)
            console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    except OSError as error:
        raise UsageError(f"--out: {options.out}: cannot be written: {error.strerror}") from None


def read_molecule(target: str, split: str | None = None) -> tuple[str, "Atoms"]:
    """The molecule that a name or a file stands for, and what to call it.

    Args:
      target: a common name, a name that `ase.build.molecule` knows, or a file as `read_molecules`
        reads it, of which the first molecule counts.
      split: the set of an `.npz` file with several.

    Raises:
      UsageError: there is no such name or file, ase is not installed, or the molecule has too many
        atoms to draw.
      DataError: a defect of the file, also after its first molecule.
    """
    try:
        from ase import Atoms
        from ase.build import molecule
        from ase.build.molecule import extra
        from ase.collections import g2
    except ImportError:
        raise UsageError(
            "the package ase, which ships molecules and reads them, is not installed; allowed: "
            "`pip install -e '.[experiments]'`"
        ) from None
    # These need ase, which is there.
    from experiments.tasks.molecules.data.read import read_molecules
    from experiments.tasks.molecules.data.simulate import COMMON_NAMES

    path = Path(target)
    if os.path.isfile(path):
        read = read_molecules(path, energy_key=None, forces_key=None, need=(), split=split)
        real = read.species[0] > 0
        return path.stem, _check(target, Atoms(read.species[0][real], read.positions[0][real]))
    known = {each.lower(): each for each in (*COMMON_NAMES, *g2.names, *extra)}
    # Formulas may differ by their case alone, as CO and Co would.
    name = target if target in g2.names or target in extra else known.get(target.strip().lower())
    if name is None:
        close = difflib.get_close_matches(target.lower(), known, n=5, cutoff=0.5)
        near = ", ".join(known[each] for each in close) or ", ".join(sorted(COMMON_NAMES))
        raise UsageError(
            f"{target}: is no file, and no molecule that is known by this name; allowed: a file that "
            f"ase reads, or a name such as {near}"
        )
    return name, _check(target, molecule(COMMON_NAMES.get(name, name)))


def _check(target: str, atoms: "Atoms") -> "Atoms":
    if not 1 <= len(atoms) <= _MOST_ATOMS:
        raise UsageError(f"{target}: has {len(atoms)} atoms; allowed: 1 to {_MOST_ATOMS}")
    return atoms


def _measure(kind: str, group: str, atoms: "Atoms", names: list[str]) -> DrawnFrame:
    make: Callable[..., sf.Frame] = functools.partial(getattr(sf, f"{kind}_frame"), group=group)
    positions, numbers = atoms.positions, atoms.numbers
    points = jnp.asarray(positions)
    frame, found = make(points), sf.frame_diagnostics(make, points)
    gap = float(sf.spectral_gap(points))
    weights = np.asarray(frame.weights)
    order = np.argsort(-weights, kind="stable")
    order = order[weights[order] > 0]
    linear, shift = (np.asarray(leaf)[order] for leaf in frame.elements)
    if kind == "robust":
        labels = tuple(_atom_label(axes, positions - shift[0], names) for axes in linear)
    else:
        labels = tuple(_sign_label(axes, linear[0]) for axes in linear)
    forms = _forms(linear, positions - shift[0], numbers)
    meaning = _MEANINGS[kind]
    if group == "SE":
        meaning = meaning.replace("both signs", "e₁ × e₂").replace("all signs", "those with det 1")
    measured = f"spectral gap {gap:.3g}, margin {float(found.margin):.3g}"
    if found.dropped > 0:
        measured += f", weight dropped {float(found.dropped):.2g}"
    made = f"{_count(len(order), 'element')}, {_count(max(forms), 'canonical form')}"
    warning = ""
    if found.dropped > _SAME:
        warning = "not all elements fit into the capacity: this is no frame"
    elif kind != "robust" and gap < _AMBIGUOUS:
        warning = "two principal axes are arbitrary: this is no frame"
    elif found.margin < _AMBIGUOUS:
        warning = "a third moment vanishes: a sign is arbitrary"
    return DrawnFrame(
        f"{kind}_frame, {group}(3)",
        _FORMULAS[kind],
        (meaning, made, measured),
        warning,
        linear,
        shift,
        weights[order],
        labels,
        forms,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _forms(linear: np.ndarray, arms: np.ndarray, numbers: np.ndarray) -> tuple[int, ...]:
    """Numbers the different canonical molecules, equal up to the order of atoms of an element."""
    tolerance = _SAME * max(float(np.max(np.abs(arms))), 1.0)
    unlike = np.where(numbers[:, None] == numbers[None], 0, np.inf)
    found: list[np.ndarray] = []
    forms = []
    for cloud in arms @ linear:
        for place, other in enumerate(found):
            apart = np.linalg.norm(cloud[:, None] - other[None], axis=-1) + unlike
            if max(apart.min(axis=0).max(), apart.min(axis=1).max()) < tolerance:
                forms.append(place + 1)
                break
        else:
            found.append(cloud)
            forms.append(len(found))
    return tuple(forms)


def _sign_label(axes: np.ndarray, reference: np.ndarray) -> str:
    """The signs of the axes of an element, relative to those of the first."""
    signs = np.sum(axes * reference, axis=0) > 0
    return "(" + " ".join("+" if sign else "−" for sign in signs) + ")"


def _atom_label(axes: np.ndarray, arms: np.ndarray, names: list[str]) -> str:
    """The atoms that the first two axes of an element point to, and the sign of the third."""
    first = _pointed_at(axes[:, 0], arms, names)
    across = arms - np.outer(arms @ axes[:, 0], axes[:, 0])
    second = _pointed_at(axes[:, 1], across, names)
    return f"{first}, {second}, {'+' if np.linalg.det(axes) > 0 else '−'}"


def _pointed_at(direction: np.ndarray, arms: np.ndarray, names: list[str]) -> str:
    """The farthest atom along a direction; with a minus if there is one only against it."""
    along = arms @ direction
    aside = np.linalg.norm(arms - np.outer(along, direction), axis=1)
    on_line = (aside < 1e-6 * max(np.max(np.abs(arms)), 1)) & (np.abs(along) > 1e-6)
    if not np.any(on_line):
        return "any"
    forward, backward = np.where(on_line, along, 0), np.where(on_line, -along, 0)
    if np.max(forward) > 0:
        return names[int(np.argmax(forward))]
    return f"−{names[int(np.argmax(backward))]}"


def _print(console: Console, frame: DrawnFrame) -> None:
    for line in (frame.name, *frame.notes, frame.warning):
        if line:
            console.print(line, soft_wrap=True, highlight=False)
    rows = [
        [
            str(place),
            label,
            fraction(weight),
            f"{np.linalg.det(linear):+.0f}",
            str(form),
            *(" ".join(f"{part:6.3f}" for part in column.round(3) + 0.0) for column in linear.T),
        ]
        for place, (label, weight, form, linear) in enumerate(
            zip(frame.labels, frame.weights, frame.forms, frame.linear, strict=True), start=1
        )
    ]
    what = "atoms" if frame.name.startswith("robust") else "signs"
    print_table(console, ["element", what, "weight", "det", "form", "e1", "e2", "e3"], rows)
    origin = ", ".join(f"{part:.4f}" for part in frame.shift[0].round(4) + 0.0)
    console.print(f"origin t = ({origin})\n", soft_wrap=True, highlight=False)


def _title(name: str, atoms: "Atoms") -> str:
    formula = atoms.get_chemical_formula().translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
    name = formula if name == atoms.get_chemical_formula() else name
    return name if name == formula else f"{name}, {formula}"
