"""Relaxation of many molecules at once, each to its own minimum, in one compiled loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from experiments.errors import UsageError
from experiments.tasks.molecules.descent import Descent, advanced, at_start, longest


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
    """
    _check(positions, species)
    for name, value in (("force_tolerance", force_tolerance), ("max_step", max_step)):
        if not isinstance(value, jax.core.Tracer) and not value > 0:
            raise UsageError(f"{name} must be positive, got {value!r}")
    if not isinstance(max_steps, jax.core.Tracer) and max_steps < 0:
        raise UsageError(f"max_steps must be at least 0, got {max_steps!r}")

    def relax_one(positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"]) -> Relaxed:
        real = (species > 0)[:, None]
        value_and_grad = jax.value_and_grad(energy)

        def goes_on(descent: Descent) -> Bool[Array, ""]:
            far = longest(descent.gradient) > force_tolerance
            return far & (descent.steps < max_steps) & ~descent.failed

        def step(descent: Descent) -> Descent:
            there = positions + (descent.travelled + descent.step)
            value, gradient = value_and_grad(there, species)
            return advanced(descent, value, jnp.where(real, gradient, 0), max_step)

        # The energy is in the loop alone, before its first step too: it is compiled once.
        start = at_start(positions, jax.eval_shape(energy, positions, species).dtype)
        # Under vmap the loop leaves those alone whose own condition no longer holds.
        end = jax.lax.while_loop(goes_on, step, start)
        force = longest(end.gradient)
        converged = (force <= force_tolerance) & jnp.isfinite(end.energy)
        return Relaxed(positions + end.travelled, end.energy, force, end.steps, converged)

    return jax.vmap(relax_one)(positions, species)


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
