"""A frame of a molecule measured: its elements, what to call them, and how sure they are."""

import functools
import warnings
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Float, Int

import symjax_frames as sf
from experiments.tasks.molecules.figures.drawn_frame import DrawnFrame

_FORMULAS = {
    "pca": r"$F(x) = \{(V\,\mathrm{diag}(s),\ t)\}$",
    "robust": r"$F(x) = \{((e_1, e_2, e_3),\ t)\}$",
    "canonical": r"$F(x) = \{(V\,\mathrm{diag}(s),\ t)\}$",
}
_MEANINGS = {
    "pca": "V: principal axes; s: all signs",
    "robust": "axes through atoms; e₃: both signs",
    "canonical": "V: principal axes; s: of third moments",
    "local": "axes through neighbours; e₃: both signs",
}
_AMBIGUOUS = 1e-5
"""Relative gaps below this are symmetry: coordinates in files have six digits or so."""
SAME = 1e-3
"""Canonical molecules count as equal below this distance, in angstrom or relative to their size,
and weights below it as none."""


def measured_frame(kind: str, group: str, atoms: Atoms, names: list[str]) -> DrawnFrame:
    """A frame of a molecule, with its elements in the order of falling weight.

    Args:
      kind: `"pca"`, `"robust"` or `"canonical"`.
      group: `"E"` or `"SE"`.
      atoms: the molecule.
      names: what the atoms are called.

    Returns:
      The elements of positive weight, a label and the canonical form of each, and a warning if they
      are no frame.
    """
    make: Callable[..., sf.Frame] = functools.partial(getattr(sf, f"{kind}_frame"), group=group)
    positions, numbers = atoms.positions, atoms.numbers
    points = jnp.asarray(positions)
    with warnings.catch_warnings():
        # What is dropped is told below.
        warnings.simplefilter("ignore", sf.frames.FrameOverflowWarning)
        frame, diagnostics = make(points), sf.frame_diagnostics(make, points)
    assert diagnostics.margin is not None and diagnostics.dropped is not None
    gap, margin = float(sf.spectral_gap(points)), float(diagnostics.margin)
    dropped = float(diagnostics.dropped)
    weights = np.asarray(frame.weights)
    order = np.argsort(-weights, kind="stable")
    order = order[weights[order] > 0]
    linear, shift = (np.asarray(leaf)[order] for leaf in frame.elements)
    if kind == "robust":
        labels = tuple(atom_label(axes, positions - shift[0], names) for axes in linear)
    else:
        labels = tuple(_sign_label(axes, linear[0]) for axes in linear)
    forms = canonical_forms(linear, positions - shift[0], numbers)
    measured = f"spectral gap {gap:.3g}, margin {margin:.3g}"
    if dropped > 0:
        measured += f", weight dropped {dropped:.2g}"
    counts = f"{count_of(len(order), 'element')}, {count_of(max(forms), 'canonical form')}"
    warning = ""
    if dropped > SAME:
        warning = "not all elements fit into the capacity: this is no frame"
    elif kind != "robust" and gap < _AMBIGUOUS:
        warning = "two principal axes are arbitrary: this is no frame"
    elif margin < _AMBIGUOUS:
        warning = "a third moment vanishes: a sign is arbitrary"
    return DrawnFrame(
        f"{kind}_frame, {group}(3)",
        _FORMULAS[kind],
        (meaning_of(kind, group), counts, measured),
        warning,
        linear,
        shift,
        weights[order],
        labels,
        forms,
    )


def canonical_forms(
    linear: Float[np.ndarray, "frame 3 3"],
    arms: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
) -> tuple[int, ...]:
    """Numbers the different canonical molecules `arms @ linear`.

    Args:
      linear: the axes of each element as columns.
      arms: the positions of the atoms from the origin of the frame, in angstrom.
      numbers: their atomic numbers.

    Returns:
      A number for each element, from 1; equal for molecules that are equal up to the order of atoms
      of an element.
    """
    tolerance = SAME * max(float(np.max(np.abs(arms))), 1.0)
    unlike = np.where(numbers[:, None] == numbers[None], 0, np.inf)
    different: list[np.ndarray] = []
    forms = []
    for cloud in arms @ linear:
        for form, other in enumerate(different, start=1):
            apart = np.linalg.norm(cloud[:, None] - other[None], axis=-1) + unlike
            if max(apart.min(axis=0).max(), apart.min(axis=1).max()) < tolerance:
                forms.append(form)
                break
        else:
            different.append(cloud)
            forms.append(len(different))
    return tuple(forms)


def meaning_of(kind: str, group: str) -> str:
    """How the elements of a kind of frame are made, in a few words."""
    words = _MEANINGS[kind]
    if group == "E":
        return words
    return words.replace("both signs", "e₁ × e₂").replace("all signs", "those with det 1")


def count_of(number: int, noun: str) -> str:
    """A number with a noun, as in `2 elements`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _sign_label(axes: np.ndarray, reference: np.ndarray) -> str:
    """The signs of the axes of an element, relative to those of the first."""
    signs = np.sum(axes * reference, axis=0) > 0
    return "(" + " ".join("+" if sign else "−" for sign in signs) + ")"


def atom_label(axes: np.ndarray, arms: np.ndarray, names: list[str]) -> str:
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
