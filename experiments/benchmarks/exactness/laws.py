"""The laws that an exact average keeps: the error of each cloud, and the tolerances."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.benchmarks.exactness.clouds import Clouds
from experiments.benchmarks.exactness.methods import Outputs, Run
from experiments.benchmarks.exactness.moves import move, relative_error, reorder, rounding, turn

LAWS = {
    "values": "the energy under random rotations and shifts",
    "vectors": "one vector a point, likewise",
    "forces": "minus the gradient of the energy, likewise",
    "rank 2": "one tensor a cloud, likewise",
    "mirror images": "energy, vectors and forces under rotary reflections and shifts",
    "permutations": "energy, vectors and forces in another order of the points",
    "gradient": "the forces against central differences of the energy",
    "torque": "the net torque of the forces",
    "NaN": "outputs or gradients that are not finite",
}
"""The laws, and what is held against each."""

_MOVED = ("values", "vectors", "forces")

_STEPS = {"float32": (1e-2, 3e-3, 1e-3, 3e-4), "float64": (1e-3, 1e-4, 1e-5, 1e-6)}
"""Steps of central differences, in sizes of the cloud, the longest first; the best counts."""


class Tolerances(NamedTuple):
    """The relative errors beyond which a law fails; rounding of the coordinates adds to them."""

    symmetry: float
    torque: float


TOLERANCES = {"float32": Tolerances(1e-3, 1e-5), "float64": Tolerances(1e-8, 1e-12)}
"""By dtype."""


class Errors(NamedTuple):
    """How far a law is broken.

    Attributes:
      errors: relative ones, not finite where an output is not.
      limits: the largest that are no failures.
    """

    errors: Float[np.ndarray, " clouds"]
    limits: Float[np.ndarray, " clouds"]

    @property
    def failed(self) -> Bool[np.ndarray, " clouds"]:
        """Where the law does not hold."""
        return ~(self.errors <= self.limits)


def measure(
    run: Run, run_tensors: Run, clouds: Clouds, dtype: str, samples: int
) -> dict[str, Errors]:
    """Holds every law against every cloud.

    Errors are relative to the largest component of the output, or to the energy (over the size of
    the cloud, for forces) where that is larger: symmetry may make an output vanish.

    Args:
      run: the outputs for clouds.
      run_tensors: the same by the average that is meant for tensors.
      clouds: the inputs.
      dtype: what `run` computes in.
      samples: random motions, reflections, orders and directions.

    Returns:
      The errors of each law of `LAWS`.
    """
    rng = np.random.default_rng(1)
    clouds = clouds._replace(points=clouds.points.astype(dtype).astype(float))
    finite: list[np.ndarray] = []

    def watched(inputs: Clouds, average: Run = run) -> Outputs:
        outputs = average(inputs)
        leaves = [leaf.reshape(len(leaf), -1) for leaf in outputs.values()]
        finite.append(np.all(np.isfinite(np.concatenate(leaves, axis=1)), axis=1))
        return outputs

    base, base_tensors = watched(clouds), watched(clouds, run_tensors)
    energy = np.abs(base["values"])
    floors = dict.fromkeys(base, energy) | {"forces": energy * clouds.units / clouds.sizes}
    errors: dict[str, list[np.ndarray]] = {law: [] for law in LAWS}
    largest = rounding(clouds, dtype)

    def changes(outputs: Outputs, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: relative_error(outputs[name], leaf, floors[name])
            for name, leaf in expected.items()
        }

    still = {name: base[name] for name in _MOVED}
    for _ in range(samples):
        for mirror in (False, True):
            moved, linear = move(clouds, rng, mirror)
            largest = np.maximum(largest, rounding(moved, dtype))
            change = changes(watched(moved), {name: turn(linear, still[name]) for name in _MOVED})
            if mirror:
                errors["mirror images"].append(np.max(list(change.values()), axis=0))
                continue
            tensors = {"rank 2": turn(linear, base_tensors["rank 2"], rank=2)}
            change |= changes(watched(moved, run_tensors), tensors)
            for name, error in change.items():
                errors[name].append(error)
        ordered, expected = reorder(clouds, still, rng)
        change = changes(watched(ordered), expected)
        errors["permutations"].append(np.max(list(change.values()), axis=0))

    tolerance = TOLERANCES[dtype]
    nothing = np.zeros(len(clouds.points))
    laws = {
        name: Errors(np.max(drawn, axis=0), tolerance.symmetry + largest)
        for name, drawn in errors.items()
        if drawn
    }
    off = rounding(clouds, dtype)
    differences = [_differences(clouds, base, watched, dtype, rng) for _ in range(samples)]
    # The shorter the step, the more rounding weighs in a difference: that of the longest counts.
    laws["gradient"] = Errors(
        np.max(differences, axis=0), tolerance.symmetry + off / _STEPS[dtype][0]
    )
    laws["torque"] = Errors(_torque(clouds, base), tolerance.torque + off)
    laws["NaN"] = Errors(np.where(np.all(finite, axis=0), 0.0, 1.0), nothing)
    return {law: laws[law] for law in LAWS}


def _differences(
    clouds: Clouds, base: Outputs, run: Run, dtype: str, rng: np.random.Generator
) -> Float[np.ndarray, " clouds"]:
    """Forces against central differences along a random direction, by the steps that were taken."""
    direction = np.where(clouds.mask[..., None], rng.normal(size=clouds.points.shape), 0)
    lengths = np.linalg.norm(direction, axis=(1, 2))
    direction *= (clouds.sizes / lengths)[:, None, None]
    forces = base["forces"] / clouds.units[:, None, None]
    size = np.maximum(np.linalg.norm(forces, axis=(1, 2)) * clouds.sizes, np.abs(base["values"]))
    size = np.where(size > 0, size, 1)
    errors = []
    for step in _STEPS[dtype]:
        ends = [(clouds.points + sign * step * direction).astype(dtype) for sign in (1, -1)]
        plus, minus = (clouds._replace(points=end.astype(float)) for end in ends)
        taken = plus.points - minus.points
        change = run(plus)["values"] - run(minus)["values"]
        errors.append(np.abs(change + np.sum(forces * taken, axis=(1, 2))) / (2 * step * size))
    return np.min(errors, axis=0)


def _torque(clouds: Clouds, base: Outputs) -> Float[np.ndarray, " clouds"]:
    arms = clouds.arms / clouds.units[:, None, None]
    torque = np.linalg.norm(np.sum(np.cross(arms, base["forces"]), axis=1), axis=1)
    lengths = [np.linalg.norm(leaf, axis=2) for leaf in (arms, base["forces"])]
    size = np.maximum(np.sum(lengths[0] * lengths[1], axis=1), np.abs(base["values"]))
    return torque / np.where(size > 0, size, 1)
