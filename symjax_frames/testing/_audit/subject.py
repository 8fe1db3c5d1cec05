"""One cloud under audit: its arguments and outputs, and the sizes that errors are relative to."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from symjax_frames.testing._audit.moves import size_of
from symjax_frames.testing._audit.probe import Layout, Output, Probe, Slopes


@dataclasses.dataclass
class Subject:
    """A cloud, with what is evaluated at it.

    Attributes:
      probe: evaluates the function.
      layout: of the arguments.
      moved: the leaves that the group moves; the first one is the cloud.
      fixed: the other arrays.
      outputs: what is known of the floating outputs.
      rng: draws everything for this cloud.
      shifts: whether a shift of the cloud is to change nothing.
      base: the outputs for the cloud as it is.
      sizes: what differences of each output are relative to.
      cotangents: the projection of each output to a number, for derivatives.
      slope_size: what differences of derivatives are relative to.
      nonfinite_values: evaluations that gave a NaN or an infinity.
      nonfinite_gradients: derivatives that did.
    """

    probe: Probe
    layout: Layout
    moved: list[np.ndarray]
    fixed: list[Any]
    outputs: list[Output]
    rng: np.random.Generator
    shifts: bool
    base: list[np.ndarray] = dataclasses.field(default_factory=list)
    sizes: list[float] = dataclasses.field(default_factory=list)
    cotangents: list[np.ndarray] = dataclasses.field(default_factory=list)
    slope_size: float = 1.0
    nonfinite_values: int = 0
    nonfinite_gradients: int = 0

    @property
    def cloud(self) -> Float[np.ndarray, "points dim"]:
        """The points, in float64."""
        return self.moved[0].astype(np.float64)

    @property
    def centre(self) -> Float[np.ndarray, " dim"]:
        """What rotations leave in place: the centroid, or the origin for O and SO."""
        centroid = np.mean(self.cloud, axis=0)
        return centroid if self.shifts else np.zeros_like(centroid)

    @property
    def rounding(self) -> float:
        """The rounding of the coordinates over the size of the cloud, at least one epsilon."""
        eps = float(jnp.finfo(self.probe.dtype).eps)
        extent = np.max(np.abs(self.cloud))
        return eps * max(1.0, float(extent) / size_of(self.moved[0])) if self.shifts else eps

    def arguments(self, stretch: float) -> tuple:
        """The arguments of the function, with all that moves stretched."""
        moved = [jnp.asarray(leaf * stretch, leaf.dtype) for leaf in self.moved]
        return self.layout.join(moved, self.fixed)

    def set_sizes(self, sizes: list[float]) -> None:
        """Fixes what errors of each output are relative to, and its projection for derivatives."""
        self.sizes = sizes
        # Weights of a size around one: a weight near zero would hide an entry of the output.
        self.cotangents = [
            (
                1 + 0.5 * np.sin(self.rng.normal(size=leaf.shape[1]))
                if leaf.shape[1] > 1
                else np.ones(1)
            )
            / size
            for leaf, size in zip(self.base, sizes, strict=True)
        ]

    def values(
        self,
        moved: list[np.ndarray] | None = None,
        linear: np.ndarray | None = None,
        shift: np.ndarray | None = None,
        order: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """The outputs, moved back, at inputs that differ from the cloud by what is given."""
        given = [rows for rows in (linear, shift, order, *(moved or [])) if rows is not None]
        count = len(given[0]) if given else 1
        points, dim = self.cloud.shape

        def repeated(array: np.ndarray) -> np.ndarray:
            return np.broadcast_to(array, (count, *array.shape))

        values = self.probe.values(
            self.layout,
            self.fixed,
            [repeated(leaf) for leaf in self.moved] if moved is None else moved,
            repeated(np.eye(dim)) if linear is None else linear,
            repeated(np.zeros(dim)) if shift is None else shift,
            repeated(np.arange(points)) if order is None else order,
        )
        self.nonfinite_values += _nonfinite(values)
        return values

    @functools.cached_property
    def base_slopes(self) -> Slopes:
        """The derivatives at the cloud as it is."""
        return self.slopes([leaf[None] for leaf in self.moved])

    def slopes(self, moved: list[np.ndarray]) -> Slopes:
        """Derivatives of the sum of the outputs times the cotangents, which has no unit."""
        slopes = self.probe.slopes(self.layout, self.fixed, moved, self.cotangents, self.centre)
        self.nonfinite_gradients += _nonfinite(slopes.moved)
        return slopes

    def around(self, steps: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The inputs `x + step` and `x - step` for each step, rounded to the dtype."""
        plus = [
            (leaf + step).astype(self.probe.dtype)
            for leaf, step in zip(self.moved, steps, strict=True)
        ]
        minus = [
            (leaf - step).astype(self.probe.dtype)
            for leaf, step in zip(self.moved, steps, strict=True)
        ]
        return plus, minus

    def change(self, values: list[np.ndarray], reference: list[np.ndarray]) -> np.ndarray:
        """The largest relative difference of any output, for each row."""
        changes = [
            np.max(np.abs(value - other), axis=1, initial=0.0) / size
            for value, other, size in zip(values, reference, self.sizes, strict=True)
        ]
        return np.max(changes, axis=0)


def floored(own: list[float], extents: list[float]) -> list[float]:
    """Sizes of an output at each cloud, raised to at least the median over all clouds.

    A symmetric cloud can make an output vanish. What is left of it is rounding, whose relative
    error means nothing. For clouds smaller than the median cloud the least size is smaller in
    proportion.

    Args:
      own: the size of the output at each cloud.
      extents: the size of each cloud.
    """
    finite = [size for size in own if np.isfinite(size) and size > 0]
    typical = float(np.median(finite)) if finite else 1.0
    middle = float(np.median(extents)) or 1.0
    least = [typical * min(1.0, (extent or middle) / middle) for extent in extents]
    return [
        max(size, low) if np.isfinite(size) else low for size, low in zip(own, least, strict=True)
    ]


def _nonfinite(rows: list[np.ndarray]) -> int:
    finite = [np.all(np.isfinite(leaf).reshape(len(leaf), -1), axis=1) for leaf in rows]
    return int(np.sum(~np.all(finite, axis=0)))
