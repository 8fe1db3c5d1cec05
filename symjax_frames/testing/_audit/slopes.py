"""The derivatives of a function under audit: gradients, forces, torques, conservation of energy."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from symjax_frames.actions import vectors
from symjax_frames.testing._audit.moves import size_of
from symjax_frames.testing._audit.subject import Subject

_DIRECTIONS = 4
_COLUMNS = 8
_BESIDE = 0.1
_STEPS = (10.0, 1.0, 0.1, 0.01)
"""Steps of central differences, in cube roots of the machine epsilon and sizes of the input."""


def slope_norm(subject: Subject) -> float:
    """The length of the gradient of the projected output, by coordinates in units of their size."""
    parts = [
        size_of(x) * leaf for x, leaf in zip(subject.moved, subject.base_slopes.moved, strict=True)
    ]
    return float(np.sqrt(sum(np.sum(part**2) for part in parts)))


def gradient_error(subject: Subject) -> float:
    """How far derivatives are from central differences: the best step, the worst direction."""
    slopes = subject.base_slopes
    eps = float(jnp.finfo(subject.probe.dtype).eps)
    lengths = np.repeat(eps ** (1 / 3) * np.array(_STEPS), _DIRECTIONS)
    steps = []
    for leaf in subject.moved:
        drawn = size_of(leaf) * subject.rng.normal(size=(_DIRECTIONS, *leaf.shape))
        drawn = np.tile(drawn, (len(_STEPS), *[1] * leaf.ndim))
        steps.append(lengths.reshape(-1, *[1] * leaf.ndim) * drawn)
    plus, minus = subject.around(steps)
    both = subject.values([np.concatenate(pair) for pair in zip(plus, minus, strict=True)])
    differences = sum(
        (after - before) @ cotangent
        for (after, before), cotangent in zip(
            (np.split(leaf, 2) for leaf in both), subject.cotangents, strict=True
        )
    )
    # Rounding changes the steps: what counts are those that were taken.
    expected = sum(
        np.sum((p.astype(np.float64) - m) * s, axis=tuple(range(1, p.ndim)))
        for p, m, s in zip(plus, minus, slopes.moved, strict=True)
    )
    errors = np.abs(differences - expected) / (2 * lengths * subject.slope_size)
    return float(np.max(np.min(errors.reshape(len(_STEPS), _DIRECTIONS), axis=0)))


@dataclasses.dataclass(frozen=True)
class Forces:
    """The forces on the points of a cloud: minus the gradient of an energy, or the output itself.

    Attributes:
      output: the index of the forces among the outputs; `None` for minus the gradient of the only
        output.
    """

    output: int | None

    def at(self, subject: Subject, clouds: list[np.ndarray]) -> np.ndarray:
        """The forces at each input, in units of the size of the output or of the cloud."""
        if self.output is None:
            return -size_of(subject.moved[0]) * subject.slopes(clouds).moved[0]
        forces = subject.values(clouds)[self.output] / subject.sizes[self.output]
        return forces.reshape(-1, *subject.cloud.shape)


def find_forces(subject: Subject) -> Forces | None:
    """The forces in the outputs: a vector per point, or else the gradient of an invariant number.

    `None` if there is neither.
    """
    for index, output in enumerate(subject.outputs):
        if output.action is vectors and output.shape == subject.cloud.shape:
            return Forces(index)
    only, *others = subject.outputs
    if not others and only.action is None and np.prod(only.shape) == 1:
        return Forces(None)
    return None


def balance(subject: Subject, forces: Forces) -> tuple[float, float]:
    """The net force and the net torque, relative to the sum of their parts."""
    now = [leaf[None] for leaf in subject.moved]
    size = size_of(subject.moved[0])
    if forces.output is None:
        # Derivatives by the group element: velocities and all other arguments that move take part.
        slopes = subject.base_slopes
        field, turn, step = -size * slopes.moved[0][0], slopes.turn[0], size * slopes.step[0]
        floor = subject.slope_size
        arms = [subject.cloud - subject.centre, *subject.moved[1:]]
        lever = sum(
            float(np.linalg.norm(leaf)) * float(np.linalg.norm(arm))
            for leaf, arm in zip(slopes.moved, arms, strict=True)
        )
    else:
        field, floor = forces.at(subject, now)[0], 1.0
        arm = (subject.cloud - subject.centre) / size
        turn, step = field.T @ arm, np.sum(field, axis=0)
        lever = float(np.sum(np.linalg.norm(field, axis=1) * np.linalg.norm(arm, axis=1)))
    parts = float(np.sum(np.linalg.norm(field, axis=1)))
    torque = np.linalg.norm(turn - turn.T) / np.sqrt(2)
    return float(np.linalg.norm(step)) / max(parts, floor), float(torque) / max(lever, floor)


def asymmetry(subject: Subject, forces: Forces) -> float:
    """`|J - J^T| / |J|` of the Jacobian of the forces, within a few random directions.

    Central differences of the forces, with the best of several steps, need nothing but values: they
    also tell where automatic differentiation is wrong. They are taken at a random cloud beside this
    one, since second derivatives need not exist at a degenerate cloud.
    """
    shape = subject.cloud.shape
    size = size_of(subject.moved[0])
    count = min(_COLUMNS, subject.cloud.size)
    basis, _ = np.linalg.qr(subject.rng.normal(size=(subject.cloud.size, count)))
    beside = subject.cloud + _BESIDE * size * subject.rng.normal(size=shape)
    rest = [
        np.tile(leaf, (2 * len(_STEPS) * count, *[1] * leaf.ndim)) for leaf in subject.moved[1:]
    ]
    lengths = float(jnp.finfo(subject.probe.dtype).eps) ** (1 / 3) * np.array(_STEPS)
    steps = lengths[:, None, None, None] * (size * basis.T.reshape(count, *shape))
    clouds = np.stack([beside + steps, beside - steps]).reshape(-1, *shape)
    plus, minus = forces.at(subject, [clouds, *rest]).reshape(2, len(_STEPS), count, -1)
    jacobians = (plus - minus) @ basis / (2 * lengths[:, None, None])
    difference = np.linalg.norm(jacobians - jacobians.transpose(0, 2, 1), axis=(1, 2))
    sizes = np.linalg.norm(jacobians, axis=(1, 2))
    least = subject.slope_size * subject.rounding
    return float(np.min(difference / np.maximum(sizes, least)))
