"""The charged 5-body benchmark: its random draws and its simulator.

References:
  Satorras et al., E(n) Equivariant Graph Neural Networks, ICML 2021, arXiv:2102.09844, whose
  protocol this is, number for number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Int

from experiments.data.cache import announced
from experiments.errors import UsageError

TRAJECTORIES = {"train": 10000, "valid": 2000, "test": 2000}
"""How many trajectories the benchmark draws for each split, in this order."""

SNAPSHOTS = 49
"""Saved snapshots of a trajectory; snapshot `k` is step `100 (k + 1)`."""

_TIME_STEP = 0.001
_STEPS_A_SNAPSHOT = 100
_LARGEST_FORCE = 100.0
_BOX = 5.0
_SPEED = 0.5
# Trajectories simulated at a time. Always the same number, the last chunk being padded: one
# compiled program, so a trajectory has the same bits whatever it is simulated with.
_CHUNK = 250


class Initial(NamedTuple):
    """Trajectories before their first step, float64.

    Attributes:
      positions: where the bodies start.
      velocities: how they move, all at the same speed.
      charges: -1 or 1.
    """

    positions: Float64[np.ndarray, "trajectories bodies 3"]
    velocities: Float64[np.ndarray, "trajectories bodies 3"]
    charges: Float64[np.ndarray, "trajectories bodies"]


def sample_initial(
    num_train: int, num_valid: int, num_test: int, *, seed: int = 43, bodies: int = 5
) -> dict[str, Initial]:
    r"""The benchmark's initial conditions: the first ones of each split, as its authors drew them.

    All of `TRAJECTORIES` are drawn from one stream of NumPy's legacy generator, used or not: for
    each trajectory its charges, its positions $\mathcal N(0, (n/5)^{2/3})$ for $n$ bodies, its
    velocities $\mathcal N(0, 1)$ rescaled to speed 1/2, then observation noise for every saved
    snapshot, whose variance is zero in the benchmark but which moves the stream on.

    Args:
      num_train: training trajectories kept, of 10000.
      num_valid: validation trajectories kept, of 2000.
      num_test: test trajectories kept, of 2000.
      seed: of the stream; 43 in the benchmark.
      bodies: particles of a trajectory; 5 in the benchmark.

    Returns:
      The initial conditions of `"train"`, `"valid"` and `"test"`.

    Raises:
      UsageError: a split asks for less than one trajectory or more than there are, or there is
        less than one body.
    """
    kept = {"train": num_train, "valid": num_valid, "test": num_test}
    for split, count in kept.items():
        if not 1 <= count <= TRAJECTORIES[split]:
            raise UsageError(f"num_{split} must be from 1 to {TRAJECTORIES[split]}, got {count}")
    if bodies < 1:
        raise UsageError(f"bodies must be at least 1, got {bodies}")
    stream = np.random.RandomState(seed)
    return {
        split: _draw(stream, kept[split], TRAJECTORIES[split], bodies) for split in TRAJECTORIES
    }


def _draw(stream: np.random.RandomState, kept: int, drawn: int, bodies: int) -> Initial:
    charges = np.empty((kept, bodies))
    normals = np.empty((kept, 2, 3, bodies))
    for index in range(drawn):
        charge = stream.choice([-1.0, 0.0, 1.0], size=bodies, p=[0.5, 0.0, 0.5])
        normal = stream.standard_normal((2, 3, bodies))
        stream.standard_normal(2 * SNAPSHOTS * 3 * bodies)
        if index < kept:
            charges[index], normals[index] = charge, normal
    positions, velocities = normals.transpose(1, 0, 3, 2)
    positions = positions * (bodies / 5) ** (1 / 3)
    velocities = velocities * _SPEED / np.linalg.norm(velocities, axis=-1, keepdims=True)
    return Initial(positions, velocities, charges)


def simulate(
    positions: Float64[np.ndarray, "trajectories bodies 3"],
    velocities: Float64[np.ndarray, "trajectories bodies 3"],
    charges: Float64[np.ndarray, "trajectories bodies"],
    *,
    snapshots: Sequence[int],
) -> tuple[
    Float64[np.ndarray, "trajectories snapshots bodies 3"],
    Float64[np.ndarray, "trajectories snapshots bodies 3"],
]:
    r"""Moves charged bodies by the benchmark's integrator, in float64 whatever JAX's default.

    After one reflection at the box $[-5, 5]^3$, each step is `v += dt F(x)`, then `x += dt v`, with
    `dt = 0.001` and $F_i = \sum_{j \ne i} q_i q_j (x_i - x_j) / |x_i - x_j|^3$, every component
    clipped to [-100, 100]. Nothing softens a close encounter, so in about one trajectory of
    twenty rounding grows until equally correct implementations disagree.

    Args:
      positions: where the bodies start.
      velocities: their velocities there.
      charges: one a body.
      snapshots: those to return, increasing; snapshot `k` is the state after `100 (k + 1)` steps,
        its velocity that of the last move, before the force at its position acts.

    Returns:
      Positions and velocities at those snapshots.

    Raises:
      ValueError: `snapshots` is empty, not increasing, or not within 0 to 48.
    """
    steps = np.diff([-1, *snapshots]) * _STEPS_A_SNAPSHOT
    if not len(steps) or np.any(steps <= 0) or snapshots[-1] >= SNAPSHOTS:
        raise ValueError(
            f"snapshots must be increasing, in 0 to {SNAPSHOTS - 1}, got {list(snapshots)}"
        )
    count, bodies, _ = positions.shape
    states = np.empty((2, count, len(steps), bodies, 3))
    chunks = range(0, count, _CHUNK)
    with jax.enable_x64(True):
        for start in announced(chunks, f"Simulating {count} trajectories of {bodies} bodies"):
            chosen = np.arange(start, start + _CHUNK) % count
            stop = min(start + _CHUNK, count)
            # Trajectories go last: long contiguous rows are five times as fast as rows of three.
            chunk = _simulate_chunk(
                *(np.moveaxis(array[chosen], 0, -1) for array in (positions, velocities, charges)),
                steps.astype(np.int64),
            )
            for state, moved in zip(states, chunk, strict=True):
                state[start:stop] = np.moveaxis(np.asarray(moved), -1, 0)[: stop - start]
    return states[0], states[1]


@jax.jit
def _simulate_chunk(
    positions: Float64[Array, "bodies 3 trajectories"],
    velocities: Float64[Array, "bodies 3 trajectories"],
    charges: Float64[Array, "bodies trajectories"],
    steps: Int[Array, " snapshots"],
) -> tuple[
    Float64[Array, "snapshots bodies 3 trajectories"],
    Float64[Array, "snapshots bodies 3 trajectories"],
]:
    def move(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        position, velocity = state
        velocity = velocity + _TIME_STEP * _force(position, charges)
        return position + _TIME_STEP * velocity, velocity

    def to_next_snapshot(state: tuple[Array, Array], count: Array) -> tuple:
        state = jax.lax.fori_loop(0, count, move, state)
        return state, state

    speed = jnp.abs(velocities)
    over, under = positions > _BOX, positions < -_BOX
    velocities = jnp.where(over, -speed, jnp.where(under, speed, velocities))
    positions = jnp.where(over, 2 * _BOX - positions, positions)
    positions = jnp.where(under, -2 * _BOX - positions, positions)
    return jax.lax.scan(to_next_snapshot, (positions, velocities), steps)[1]


def _force(
    positions: Float64[Array, "bodies 3 trajectories"],
    charges: Float64[Array, "bodies trajectories"],
) -> Float64[Array, "bodies 3 trajectories"]:
    first, second = np.triu_indices(len(positions), k=1)
    apart = positions[first] - positions[second]
    squared = jnp.sum(apart * apart, axis=1)
    cubed = squared * jnp.sqrt(squared)
    # Two bodies in one place do not push each other, rather than by 0 / 0.
    cubed = jnp.where(cubed > 1e-300, cubed, 1.0)
    on_first = (charges[first] * charges[second] / cubed)[:, None] * apart
    # A product with +1 and -1, not a scatter: on a GPU scatters add in any order.
    bodies = np.arange(len(positions))[:, None]
    sides = (bodies == first).astype(np.float64) - (bodies == second)
    force = jnp.tensordot(sides, on_first, axes=1, precision=jax.lax.Precision.HIGHEST)
    return jnp.clip(force, -_LARGEST_FORCE, _LARGEST_FORCE)
