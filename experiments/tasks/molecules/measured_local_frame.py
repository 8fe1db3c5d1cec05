"""The local frame of an atom measured: its elements, and the neighbours that make them."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import symjax_frames as sf
from experiments.tasks.molecules.choices import FrameGroup
from experiments.tasks.molecules.environment import Environment
from experiments.tasks.molecules.figures.drawn_frame import DrawnFrame
from experiments.tasks.molecules.measured_frames import (
    SAME,
    atom_label,
    canonical_forms,
    count_of,
    meaning_of,
)

_ROWS = 16
"""Numbers of edges are multiples of it."""
_ROUNDS = 4
"""How often room is made for elements that do not fit."""


def measured_local_frame(group: FrameGroup, environment: Environment) -> DrawnFrame:
    """The local frame of an atom, with its elements in the order of falling weight.

    Args:
      group: `"E"` or `"SE"`.
      environment: the atom and its neighbours.

    Returns:
      The elements of positive weight. Labels name the neighbours that the axes point to; forms are
      equal where the neighbours, seen from the element, are the same.
    """
    vectors = environment.vectors
    frame, dropped = _frame(vectors, environment.cutoff, group)
    weights = np.asarray(frame.weights)[:, 0]
    order = np.argsort(-weights, kind="stable")
    order = order[weights[order] > 0]
    linear = np.asarray(frame.elements.linear)[order, 0]
    arms = np.concatenate([np.zeros((1, 3)), vectors])
    forms = canonical_forms(linear, arms, environment.numbers)
    ratios = np.sum((arms / environment.cutoff) ** 2, axis=1, keepdims=True)
    damped = np.maximum(1 - ratios, 0) ** 2 * arms
    seen = f"{count_of(len(vectors), 'neighbour')} within {environment.cutoff:g} Å"
    if len(vectors):
        lengths = np.linalg.norm(vectors, axis=1)
        seen += f", at {lengths[0]:.3g} to {lengths[-1]:.3g} Å"
    counts = f"{count_of(len(order), 'element')}, {count_of(max(forms), 'canonical form')}"
    return DrawnFrame(
        f"local_frames, {group}(3), {environment.name}",
        r"$F_i(x) = \{((e_1, e_2, e_3),\ x_i)\}$",
        (meaning_of("local", group), counts, seen),
        _warning(damped, dropped),
        linear,
        np.tile(environment.positions[0], (len(order), 1)),
        weights[order],
        tuple(atom_label(axes, damped, environment.labels) for axes in linear),
        forms,
    )


def _frame(
    vectors: Float[np.ndarray, "neighbours 3"], cutoff: float, group: FrameGroup
) -> tuple[sf.Frame, float]:
    """The frame with all the room that it needs, and the weight that it drops nevertheless."""
    # Edges of no length change nothing: few programs are compiled, also for no neighbours at all.
    edges = np.zeros((_ROWS * (len(vectors) // _ROWS + 1), 3))
    edges[: len(vectors)] = vectors
    graph = jnp.asarray(edges), np.zeros(len(edges), int), 1, cutoff
    room: dict[str, Any] = {}
    found = sf.frames.local_diagnostics(*graph, group=group)
    for _ in range(_ROUNDS):
        if found.dropped[0] == 0:
            break
        # With room for more of the first axes, more of the second are found.
        most = max(map(int, found.num_choices[0]))
        room = {"capacity": (most, most), "max_elements": int(found.num_elements[0])}
        found = sf.frames.local_diagnostics(*graph, group=group, **room)
    with warnings.catch_warnings():
        # What is dropped is told in the picture.
        warnings.simplefilter("ignore", sf.frames.FrameOverflowWarning)
        return sf.local_frames(*graph, group=group, **room), float(found.dropped[0])


def _warning(damped: Float[np.ndarray, "points 3"], dropped: float) -> str:
    if dropped > SAME:
        return "not all elements fit into the capacity: this is no frame"
    extent = np.linalg.svd(np.concatenate([damped, np.zeros((3, 3))]), compute_uv=False)
    if extent[0] == 0:
        return "nothing is within the cutoff: the axes are arbitrary"
    if extent[1] < 1e-6 * extent[0]:
        return "neighbours on a line: the axes across it are arbitrary"
    return ""
