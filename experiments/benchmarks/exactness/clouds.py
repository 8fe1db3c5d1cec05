"""The inputs that frames are held against: the molecules of G2, and the hard clouds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.errors import UsageError
from symjax_frames.testing import hard_clouds

MOLECULES, HARD = "G2", "hard clouds"

_PADDED = 14
"""Points of a padded cloud: as many as the largest molecule of G2 has atoms."""

_UNITS = {"scale 1e-20": 1e-20, "scale 1e20": 1e20}
_FEW = {
    MOLECULES: ("CH4", "NH3", "C6H6", "CO2", "CH3CH2OH", "Si"),
    HARD: ("cube", "square", "two points", "all points equal", "offset 1e3", "scale 1e-20"),
}


class Clouds(NamedTuple):
    """Point clouds padded to one number of points, in float64.

    Attributes:
      names: of the clouds.
      kinds: `MOLECULES` or `HARD`, for each.
      points: one point a row.
      mask: `True` for real points.
      species: atomic numbers, 1 for the points of hard clouds.
      units: the length that a cloud is measured in: 1, and for those at extreme scales the scale.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    points: Float[np.ndarray, "clouds points 3"]
    mask: Bool[np.ndarray, "clouds points"]
    species: Float[np.ndarray, "clouds points"]
    units: Float[np.ndarray, " clouds"]

    @property
    def arms(self) -> Float[np.ndarray, "clouds points 3"]:
        """The points seen from the centroids; padding is zero."""
        real = self.mask[..., None]
        points = np.where(real, self.points, 0)
        centroids = np.sum(points, axis=1, keepdims=True) / np.sum(real, axis=1, keepdims=True)
        return np.where(real, points - centroids, 0)

    @property
    def sizes(self) -> Float[np.ndarray, " clouds"]:
        """The distances of the farthest points from the centroids; the unit if all coincide."""
        sizes = np.max(np.linalg.norm(self.arms, axis=2), axis=1)
        return np.where(sizes > 1e-12 * self.units, sizes, self.units)


def pad(clouds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of shape `(points, 3)` as one padded array, and its mask."""
    points = np.zeros((len(clouds), _PADDED, 3))
    mask = np.zeros(points.shape[:2], bool)
    for row, cloud in enumerate(clouds):
        points[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
    return points, mask


def load_clouds(few: bool = False) -> Clouds:
    """All the clouds, molecules first.

    Args:
      few: six of each kind.

    Returns:
      The 162 molecules and the hard clouds, as they are.

    Raises:
      UsageError: ase, which ships the molecules, is not installed.
    """
    try:
        from ase.collections import g2
    except ImportError:
        raise UsageError(
            "the package ase, which ships the molecules of G2, must be installed: "
            "pip install -e '.[experiments]'"
        ) from None
    hard = hard_clouds()
    names = {MOLECULES: tuple(g2.names), HARD: tuple(hard)}
    if few:
        names = _FEW
    molecules = [g2[name] for name in names[MOLECULES]]
    points, mask = pad(
        [atoms.positions for atoms in molecules] + [hard[name] for name in names[HARD]]
    )
    species = mask.astype(float)
    for row, atoms in zip(species, molecules, strict=False):
        row[: len(atoms)] = atoms.numbers
    return Clouds(
        names=names[MOLECULES] + names[HARD],
        kinds=tuple(kind for kind, some in names.items() for _ in some),
        points=points,
        mask=mask,
        species=species,
        units=np.array([_UNITS.get(name, 1.0) for some in names.values() for name in some]),
    )
