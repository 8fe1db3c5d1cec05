"""Pictures of crystals: bands of phonons with and without an average, and equations of state."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments import figures
from experiments.benchmarks.crystals.elasticity import Elasticity
from experiments.benchmarks.crystals.phonons import PATH, TICKS, TICKS_OF_BODIES, Splits


def draw_bands(folder: Path, found: Mapping[str, Mapping[str, Splits]]) -> list[Path]:
    """Draws the bands of each crystal, over local frames and without a frame.

    Args:
      folder: where the pictures are written to.
      found: by crystal and frame.
    """
    steps = np.linalg.norm(np.diff(PATH, axis=0), axis=1)
    # Legs begin where others end, though at another vector of the same meaning.
    leg = len(PATH) // (len(TICKS) - 1)
    steps[leg - 1 :: leg] = 0
    distances = np.concatenate([[0.0], np.cumsum(steps)])
    places = [distances[min(leg * tick, len(PATH) - 1)] for tick in range(len(TICKS))]
    paths = []
    for crystal, frames in found.items():
        bands = {
            "local frames" if frame == "local" else "no frame": one.bands
            for frame, one in frames.items()
            if one.bands is not None
        }
        if bands:
            path = folder / f"phonons_{crystal.split()[0]}.png"
            ticks = TICKS_OF_BODIES if crystal.endswith("bcc") else TICKS
            figures.phonon_bands(path, distances, bands, list(zip(places, ticks, strict=True)))
            paths.append(path)
    return paths


def draw_states(folder: Path, found: Mapping[str, Elasticity]) -> list[Path]:
    """Draws energies over volumes, from the least energy of each crystal.

    Args:
      folder: where the picture is written to.
      found: by crystal.
    """
    curves = {
        name: (np.array(one.volumes), np.array(one.energies) - one.energy)
        for name, one in found.items()
        if one.volumes
    }
    if not curves:
        return []
    path = folder / "equation_of_state.png"
    figures.equation_of_state(path, curves)
    return [path]
