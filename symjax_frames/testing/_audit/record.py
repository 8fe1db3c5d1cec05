"""The result of an audit: numbers for every cloud, a table, JSON, and tests against tolerances."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp

MEASURES = {
    "proper": "rotations",
    "improper": "reflections",
    "translation": "shifts",
    "permutation": "orders",
    "jump": "jump",
    "crossing": "crossing",
    "gradient": "gradient",
    "net_force": "net force",
    "net_torque": "net torque",
    "asymmetry": "asymmetry",
}
"""The measures of a `CloudAudit`, and what a table calls them."""

_BY_GROUP = {
    "proper": ("O", "SO", "E", "SE"),
    "improper": ("O", "E"),
    "translation": ("T", "E", "SE"),
    "net_force": ("T", "E", "SE"),
    "net_torque": ("O", "SO", "E", "SE"),
}
_BY_DIFFERENCES = ("gradient", "asymmetry")
_JUMPS = ("jump", "crossing")


@dataclasses.dataclass(frozen=True)
class CloudAudit:
    """What was measured at one cloud; `None` for what does not apply to the function.

    All errors are relative to the size of the output or of its gradient at this cloud, or its
    median over all clouds if that is larger, since a symmetric cloud may make an output vanish.

    Attributes:
      name: of the cloud.
      points: their number.
      rounding: the rounding of the coordinates relative to the size of the cloud: the machine
        epsilon, and more for a cloud far from the origin. No smaller error can be measured.
      proper: equivariance error under random rotations about the centroid (for O and SO, the
        origin).
      improper: the same under rotations times a reflection.
      translation: under random shifts.
      permutation: under random orders of the points.
      jump: the largest jump along random lines through the cloud and beside it.
      crossing: the largest jump where two principal axes of the stretched cloud change places.
      gradient: distance of derivatives from central differences.
      net_force: sum of the forces relative to the sum of their lengths. The forces are an output of
        one vector per point, or else minus the gradient of the only output, one invariant number.
      net_torque: the same for the torques about the centroid.
      asymmetry: `|J - J^T| / |J|` of the Jacobian of the forces, zero where they conserve energy.
      degrees: the part of the energy of the output that changes under rotations with degree 0, 1,
        ..., and a last one for all higher degrees.
      nonfinite_values: how many evaluations, of the cloud or near to it, gave a NaN or an infinity.
      nonfinite_gradients: how many derivatives did.
    """

    name: str
    points: int
    rounding: float
    proper: float
    improper: float
    translation: float
    permutation: float | None
    jump: float
    crossing: float | None
    gradient: float
    net_force: float | None
    net_torque: float | None
    asymmetry: float | None
    degrees: tuple[float, ...] | None
    nonfinite_values: int
    nonfinite_gradients: int


class _Breach(NamedTuple):
    """A line that says what breaks a law, and how many times as large it is as allowed."""

    line: str
    times: float


@dataclasses.dataclass(frozen=True, repr=False)
class Audit:
    """The measurements that `audit` makes of a function; `print` shows them as tables.

    Attributes:
      group: the name of the group that it is to be equivariant to.
      dtype: that of the clouds.
      output_dtypes: those of the floating outputs.
      retraces: how many functions JAX traced anew when `fn`, as it was given, was called again with
        arrays of the same shapes; 0 is good. A `jax.jit` or `jax.lax.map` inside of a function
        that is not compiled itself traces in every call.
      separates_mirror_images: whether mirror images are told apart; `None` where rotations already
        change more than rounding does.
      clouds: the measurements, one for each cloud.
    """

    group: str
    dtype: str
    output_dtypes: tuple[str, ...]
    retraces: int
    separates_mirror_images: bool | None
    clouds: tuple[CloudAudit, ...]

    def __repr__(self) -> str:
        """One line: how often a law is broken, and where the most."""
        broken = self._broken(None)
        found = "no law is broken"
        if broken:
            worst = max(broken, key=lambda breach: breach.times)
            found = f"{len(broken)} times a law is broken, most by {worst.line}"
        count = f"{len(self.clouds)} cloud" + ("" if len(self.clouds) == 1 else "s")
        return f"<Audit of {count}, {self.group}, {self.dtype}: {found}>"

    def __str__(self) -> str:
        """The line of `repr` and all tables."""
        tables = [self.table(), self.degree_table()]
        return "\n\n".join([repr(self), *(_aligned(*table) for table in tables if table)])

    @property
    def keeps_dtype(self) -> bool:
        """Whether every floating output has the dtype of the clouds."""
        return all(dtype == self.dtype for dtype in self.output_dtypes)

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types for JSON, which has no NaN: `"nan"` and `"inf"` are strings."""
        return _plain({"keeps_dtype": self.keeps_dtype} | dataclasses.asdict(self))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The names of the columns and the rows of a table, a row for each cloud."""
        shown = [key for key in MEASURES if any(getattr(c, key) is not None for c in self.clouds)]
        names = ["cloud", "points", *(MEASURES[key] for key in shown), "NaN"]
        rows = []
        for cloud in self.clouds:
            bad = cloud.nonfinite_values, cloud.nonfinite_gradients
            words = [
                f"{count} {what}"
                for count, what in zip(bad, ("values", "gradients"), strict=True)
                if count
            ]
            errors = [_short(getattr(cloud, key)) for key in shown]
            rows.append([cloud.name, str(cloud.points), *errors, ", ".join(words) or "none"])
        return names, rows

    def degree_table(self) -> tuple[list[str], list[list[str]]] | None:
        """The columns and rows of a table of degrees; `None` if there are none."""
        measured = [
            (cloud.name, cloud.degrees) for cloud in self.clouds if cloud.degrees is not None
        ]
        if not measured:
            return None
        highest = len(measured[0][1]) - 2
        names = ["cloud", *(f"l = {degree}" for degree in range(highest + 1)), "higher"]
        return names, [[name, *map(_short, degrees)] for name, degrees in measured]

    def failures(self, tolerance: float | None = None) -> list[str]:
        """What breaks a law of the group, a line each.

        Args:
          tolerance: the largest relative error allowed for a cloud whose `rounding` is the machine
            epsilon, in proportion more for others; by default 1000 machine epsilons. Jumps may be
            ten times as large, since a steep slope looks like a small one. `gradient` and
            `asymmetry` may be as large as its square root: central differences have half the
            digits.

        Returns:
          A sentence for each measure of each cloud that is too large, for a dtype that is not kept,
          and for functions that are traced again; empty if all is well.
        """
        return [breach.line for breach in self._broken(tolerance)]

    def _broken(self, tolerance: float | None) -> list[_Breach]:
        eps = float(jnp.finfo(self.dtype).eps)
        tolerance = 1000 * eps if tolerance is None else tolerance
        found = []

        def note(line: str, times: float = math.inf) -> None:
            found.append(_Breach(line, times))

        if not self.keeps_dtype:
            note(f"outputs are {', '.join(self.output_dtypes)} for {self.dtype} clouds")
        if self.retraces:
            note(f"{self.retraces} functions are traced again in every call")
        for cloud in self.clouds:
            for kind, count in (
                ("values", cloud.nonfinite_values),
                ("gradients", cloud.nonfinite_gradients),
            ):
                if count:
                    note(f"{cloud.name}: {count} {kind} are not finite")
            for measure, word in MEASURES.items():
                error = getattr(cloud, measure)
                if error is None or self.group not in _BY_GROUP.get(measure, (self.group,)):
                    continue
                allowed = tolerance * cloud.rounding / eps
                if measure in _JUMPS:
                    allowed = 10 * allowed
                if measure in _BY_DIFFERENCES:
                    allowed = math.sqrt(allowed)
                if not error <= allowed:
                    line = f"{cloud.name}: {word} {error:.2e} exceeds {allowed:.2e}"
                    note(line, error / allowed if allowed and not math.isnan(error) else math.inf)
        return found


def _aligned(columns: list[str], rows: list[list[str]]) -> str:
    """A table as plain text: the first column to the left, the others to the right."""
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
