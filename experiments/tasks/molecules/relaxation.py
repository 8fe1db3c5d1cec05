"""Relaxation of many molecules at once, each to its own minimum, in one compiled loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from experiments.errors import UsageError

_MEMORY = 10
_SOFTNESS = 1 / 70
"""Angstrom that an atom gives way for 1 eV/angstrom, until something is known of the curvature."""


class Relaxed(NamedTuple):
    """Molecules where they came to rest.

    Attributes:
      positions: in angstrom; those of padding are as they were.
      energies: in eV, at these positions.
      max_force: the largest length of a force on an atom there, in eV/angstrom.
      steps: how many each took.
      converged: whether the forces fell below the tolerance. Where they did not, the steps were
        used up, or the next one led to a place without a finite energy and was not taken.
    """

    positions: Float[Array, "molecules atoms 3"]
    energies: Float[Array, " molecules"]
    max_force: Float[Array, " molecules"]
    steps: Int[Array, " molecules"]
    converged: Bool[Array, " molecules"]


class _State(NamedTuple):
    positions: Float[Array, "atoms 3"]
    energy: Float[Array, ""]
    gradient: Float[Array, "atoms 3"]
    candidate: Float[Array, "atoms 3"]
    memory: Any
    steps: Int[Array, ""]
    failed: Bool[Array, ""]


def relax(
    energy: Callable[[Float[Array, "atoms 3"], Int[Array, " atoms"]], Float[Array, ""]],
    positions: Float[Array, "molecules atoms 3"],
    species: Int[Array, "molecules atoms"],
    *,
    force_tolerance: float = 0.01,
    max_steps: int = 500,
    max_step: float = 0.2,
) -> Relaxed:
    """Moves every molecule down to a minimum of its energy, by L-BFGS.

    A step is that of L-BFGS of optax, shortened so that no atom moves farther than `max_step`, as
    ASE does it. There is no line search: where molecules wait for each other, one gradient a step
    is cheapest. A step that would lead uphill follows the force instead. A molecule that has
    converged or failed is not moved any more while others go on, and does not change their results.

    All of it is pure: compile it with `jax.jit(functools.partial(relax, energy))`.

    Example:
      >>> import jax.numpy as jnp
      >>> def energy(positions, species):
      ...     return 10 * (jnp.linalg.norm(positions[0] - positions[1]) - 0.75) ** 2
      >>> start = jnp.array([[[0.0, 0, 0], [0, 0, 1]], [[0, 0, 0], [0.5, 0, 0]]])
      >>> relaxed = relax(energy, start, jnp.ones((2, 2), int))
      >>> bonds = relaxed.positions[:, 0] - relaxed.positions[:, 1]
      >>> jnp.linalg.norm(bonds, axis=1).round(2).tolist()
      [0.75, 0.75]

    Args:
      energy: in eV, of the positions and species of one molecule.
      positions: in angstrom.
      species: 0 for padding, which is not moved.
      force_tolerance: in eV/angstrom; every atom's force must be at most as long.
      max_steps: the most steps of a molecule.
      max_step: the farthest that an atom moves in a step, in angstrom.

    Returns:
      Where the molecules are then.

    Raises:
      UsageError: the arrays do not fit each other, or a number is not positive.

    References:
      Liu and Nocedal, On the limited memory BFGS method for large scale optimization, Math.
      Program. 1989, doi:10.1007/BF01589116.
    """
    _check(positions, species)
    for name, value in (("force_tolerance", force_tolerance), ("max_step", max_step)):
        if not isinstance(value, jax.core.Tracer) and not value > 0:
            raise UsageError(f"{name} must be positive, got {value!r}")
    if not isinstance(max_steps, jax.core.Tracer) and max_steps < 0:
        raise UsageError(f"max_steps must be at least 0, got {max_steps!r}")
    lbfgs = optax.scale_by_lbfgs(_MEMORY)

    def relax_one(positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"]) -> Relaxed:
        real = (species > 0)[:, None]
        value_and_grad = jax.value_and_grad(energy)

        def evaluate(positions: Float[Array, "atoms 3"]) -> tuple[Array, Array]:
            value, gradient = value_and_grad(positions, species)
            return value, jnp.where(real, gradient, 0)

        def goes_on(state: _State) -> Bool[Array, ""]:
            far = _longest(state.gradient) > force_tolerance
            return far & (state.steps < max_steps) & ~state.failed

        def step(state: _State) -> _State:
            energy_there, gradient_there = evaluate(state.candidate)
            failed = ~(jnp.isfinite(energy_there) & jnp.all(jnp.isfinite(gradient_there)))
            # The start is where the molecule is, whatever the energy there.
            stays = failed & (state.steps >= 0)
            positions = jnp.where(stays, state.positions, state.candidate)
            value = jnp.where(stays, state.energy, energy_there)
            gradient = jnp.where(stays, state.gradient, gradient_there)
            # Where integers have 64 bits, optax mixes them with its own of 32.
            with jax.numpy_dtype_promotion("standard"):
                direction, memory = lbfgs.update(gradient, state.memory, positions)
            downhill = (jnp.vdot(direction, gradient) > 0) & (state.steps >= 0)
            direction = jnp.where(downhill, direction, _SOFTNESS * gradient)
            candidate = positions - direction * jnp.minimum(1, max_step / _longest(direction))
            steps = jnp.where(stays, state.steps, state.steps + 1)
            return _State(positions, value, gradient, candidate, memory, steps, failed)

        dtype = positions.dtype
        memory = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
            lbfgs.init(positions),
        )
        # The energy is in the loop alone, before its first step too: it is compiled once.
        start = _State(
            positions,
            jnp.asarray(jnp.inf, jax.eval_shape(energy, positions, species).dtype),
            jnp.full_like(positions, jnp.inf),
            positions,
            memory,
            jnp.asarray(-1, jnp.int32),
            jnp.asarray(False),
        )
        # Under vmap the loop leaves those alone whose own condition no longer holds.
        end = jax.lax.while_loop(goes_on, step, start)
        force = _longest(end.gradient)
        converged = (force <= force_tolerance) & jnp.isfinite(end.energy)
        return Relaxed(end.positions, end.energy, force, end.steps, converged)

    return jax.vmap(relax_one)(positions, species)


def _longest(vectors: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    return jnp.max(jnp.linalg.norm(vectors, axis=1))


def _check(positions: Array, species: Array) -> None:
    shape, dtype = jnp.shape(positions), jnp.result_type(positions)
    if len(shape) != 3 or shape[2] != 3 or shape[1] < 1 or not jnp.issubdtype(dtype, jnp.floating):
        raise UsageError(
            "positions must be floating-point numbers of shape (molecules, atoms, 3), got "
            f"{dtype} of shape {shape}"
        )
    if jnp.shape(species) != shape[:2] or not jnp.issubdtype(jnp.result_type(species), jnp.integer):
        raise UsageError(
            f"species must be integers of shape {shape[:2]}, as the positions have, got "
            f"{jnp.result_type(species)} of shape {jnp.shape(species)}"
        )
