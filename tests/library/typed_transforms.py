"""What type checkers see of a function that was averaged; mypy checks this file, nothing runs it."""

from typing import assert_type

import jax
from jaxtyping import Array

import symjax_frames as sf


def energy(positions: Array, charges: Array, scale: float = 1.0) -> Array:
    """A function with three parameters, one of them with a default."""
    return positions.sum() * charges.sum() * scale


def counted(positions: Array) -> tuple[Array, int]:
    """Outputs, and what comes back beside them."""
    return positions, len(positions)


def check_types(positions: Array, charges: Array) -> None:
    """Each call is accepted or refused as one of the function itself is."""
    averaged = sf.frame_average(energy, sf.pca_frame, in_actions=sf.points, out_actions=None)
    assert_type(averaged(positions, charges, scale=2.0), Array)
    averaged(positions)  # type: ignore[call-arg]
    averaged(positions, charges, scale="large")  # type: ignore[arg-type]
    grouped = sf.group_average(energy, sf.cyclic(4), in_actions=sf.points, out_actions=None)
    assert_type(grouped(positions, charges), Array)
    grouped(positions, charges, size=2)  # type: ignore[call-arg]
    sampled = sf.sampled_average(energy, sf.pca_frame, in_actions=sf.points, out_actions=None)
    assert_type(sampled(jax.random.key(0), positions, charges, scale=2.0), Array)
    sampled(positions, charges)  # type: ignore[call-arg]
    pair = sf.frame_average(
        counted, sf.pca_frame, in_actions=sf.points, out_actions=sf.points, has_aux=True
    )
    assert_type(pair(positions), tuple[Array, int])
    spread = sf.frame_average(
        energy, sf.pca_frame, in_actions=sf.points, out_actions=None, with_variance=True
    )
    mean, variance = spread(positions, charges)
    spread(positions)  # type: ignore[call-arg]
