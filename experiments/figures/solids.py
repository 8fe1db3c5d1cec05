"""Pictures of what a solid does: energies over volumes, and the bands of its phonons."""

import warnings
from collections.abc import Callable, Mapping, Sequence

import ase.units
import numpy as np
from ase.eos import EquationOfState
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.figures.curves import COLOURS
from experiments.figures.style import INK, NEUTRAL, Path, checked, styled

_FEWEST = 5
"""Points that an equation of state, which has four parameters, is fitted to."""
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))


@styled
def equation_of_state(
    path: Path,
    curves: Mapping[str, tuple[Float[np.ndarray, " volumes"], Float[np.ndarray, " volumes"]]],
) -> None:
    """Draws energies over volumes, and the equations of state of Birch and Murnaghan through them.

    The legend says where each has its least energy, and its bulk modulus there. Points that have no
    equation of state, as those without a least energy between them, are drawn alone.

    Args:
      path: the image to write; its ending chooses the format.
      curves: by the name of a model or a reference, volumes in cubic angstrom and energies in eV,
        both of an atom. Energies are drawn as they are: subtract what differs before.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, a volume is not positive, or a
        value is not finite.
    """
    if not curves:
        raise ValueError("curves must be one or more, got none")
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, (volumes, energies)) in enumerate(curves.items()):
        volumes = checked(f"volumes of {name}", volumes, (None,))
        energies = checked(f"energies of {name}", energies, volumes.shape)
        if not len(volumes) or np.any(volumes <= 0):
            raise ValueError(
                f"volumes of {name} must be positive, one or more, got {volumes.tolist()}"
            )
        colour, label = COLOURS[index % len(COLOURS)], name
        found = _fitted(volumes, energies)
        if found is not None:
            function, least, modulus = found
            label += f": {least:.2f} Å³, {modulus:.3g} GPa"
            steps = np.linspace(volumes.min(), volumes.max(), 200)
            axes.plot(steps, function(steps), color=colour, linewidth=1)
        axes.plot(volumes, energies, "o", color=colour, markersize=4, label=label)
    axes.set(xlabel="volume per atom (Å³)", ylabel="energy per atom (eV)")
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.legend(title="volume of least energy, bulk modulus")
    figure.savefig(path)


@styled
def phonon_bands(
    path: Path,
    distances: Float[np.ndarray, " points"],
    bands: Mapping[str, Float[np.ndarray, "points branches"]],
    ticks: Sequence[tuple[float, str]],
) -> None:
    """Draws frequencies of phonons along a path through the Brillouin zone.

    Where two points have the same distance, the path may go on elsewhere: lines are not joined
    there.

    Args:
      path: the image to write; its ending chooses the format.
      distances: of the points along the path, not falling.
      bands: by the name of a model, the frequencies of each point in THz, with the sign minus where
        they are imaginary.
      ticks: the distance and the label of each special point.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, distances fall, or a value is
        not finite.
    """
    distances = checked("distances", distances, (None,))
    if len(distances) < 2 or np.any(np.diff(distances) < 0):
        raise ValueError(f"distances must be two or more and not fall, got {distances.tolist()}")
    if not bands:
        raise ValueError("bands must be those of one model or more, got none")
    places = checked("distances of ticks", [place for place, _ in ticks], (None,))
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    breaks = np.flatnonzero(np.diff(distances) == 0) + 1
    apart = np.insert(distances, breaks, np.nan)
    for index, (name, frequencies) in enumerate(bands.items()):
        frequencies = checked(f"bands of {name}", frequencies, (len(distances), None))
        if not frequencies.size:
            raise ValueError(f"bands of {name} must have one branch or more, got none")
        first, *_ = axes.plot(
            apart,
            np.insert(frequencies, breaks, np.nan, axis=0),
            color=COLOURS[index % len(COLOURS)],
            linestyle=_DASHES[index % len(_DASHES)],
            linewidth=1.2,
        )
        first.set_label(name)
    for place in places:
        axes.axvline(place, color=NEUTRAL, linewidth=0.6, zorder=0.5)
    axes.axhline(0, color=INK, linewidth=0.8, zorder=0.5)
    axes.set_xticks(places, [label for _, label in ticks])
    axes.set_ylabel("frequency (THz)")
    axes.margins(x=0)
    axes.grid(True, axis="y")
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(path)


def _fitted(
    volumes: np.ndarray, energies: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], float, float] | None:
    """A curve through energies, the volume of its least energy, and its bulk modulus in GPa."""
    if len(volumes) < _FEWEST:
        return None
    state = EquationOfState(volumes, energies, eos="birchmurnaghan")
    try:
        with warnings.catch_warnings():
            # Of volumes that the search tries; its result is looked at below.
            warnings.simplefilter("ignore")
            least, _, modulus = map(float, state.fit())
    except RuntimeError:
        return None
    if not (volumes.min() <= least <= volumes.max() and modulus > 0):
        return None
    return lambda steps: state.func(steps, *state.eos_parameters), least, modulus / ase.units.GPa
