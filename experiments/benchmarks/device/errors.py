"""Equivariance errors of every kind of average in float64, float32 and bfloat16."""

import argparse
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import symjax_frames as sf
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.part import Part
from experiments.config.choices import Precision
from experiments.precision import in_precision

_POINTS, _WIDTH = 12, 16
_SHARPNESS = 10.0

Outputs = tuple[Float[Array, ""], Float[Array, "3"]]


class Average(NamedTuple):
    """An average, and what it is exact under.

    Attributes:
      wrap: from the network to its average.
      group: whose motions are tried.
    """

    wrap: Callable[[Callable], Callable]
    group: sf.Group


def _over(frame: Callable[..., sf.Frame]) -> Average:
    law: dict[str, Any] = {"in_actions": sf.points, "out_actions": (None, sf.vectors)}
    return Average(functools.partial(sf.frame_average, frame=frame, **law), sf.euclidean(3))


AVERAGES: dict[str, Average] = {
    "no average": Average(lambda network: network, sf.euclidean(3)),
    "pca_frame": _over(sf.pca_frame),
    "canonical_frame": _over(sf.canonical_frame),
    "canonical_frame, smooth": _over(functools.partial(sf.canonical_frame, sharpness=_SHARPNESS)),
    "robust_frame": _over(sf.robust_frame),
    "group_average, octahedral": Average(
        functools.partial(
            sf.group_average,
            group=sf.octahedral(),
            in_actions=sf.vectors,
            out_actions=(None, sf.vectors),
        ),
        sf.octahedral(),
    ),
}
"""What is compared, by name."""

COLUMNS = {
    "float64": ("float64", "float64"),
    "float32": ("float32", "float32"),
    "network in bfloat16": ("float32", "bfloat16"),
    "bfloat16": ("bfloat16", "bfloat16"),
}
"""What clouds are given in, and what the network computes in, by the name of a column."""


def measure(options: argparse.Namespace) -> Part:
    """Measures the errors of all averages in all dtypes."""
    found = {name: errors(AVERAGES, *dtypes, options.examples) for name, dtypes in COLUMNS.items()}
    caption = (
        f"Equivariance errors of an energy and a vector of {options.examples} random clouds of "
        f"{_POINTS} points, under a random motion and a reflection: the median and the worst cloud, "
        "relative to the largest component. The last column rounds the clouds too, before and after "
        "they are moved."
    )
    rows = [
        [name, *(f"{error[name][0]:.1e} ({error[name][1]:.0e})" for error in found.values())]
        for name in AVERAGES
    ]
    return Part(caption, [Table(["average", *COLUMNS], rows)], {"errors": found})


def network(points: Float[Array, "points 3"], weights: Mapping[str, Array]) -> Outputs:
    """A network without any symmetry: an energy and a vector of a cloud."""
    hidden = jnp.tanh(points @ weights["first"] + weights["bias"])
    outputs = jnp.sum(jnp.tanh(hidden @ weights["second"] + weights["bias"]), axis=0)
    return outputs[0], outputs[1:4]


def errors(
    averages: Mapping[str, Average], given: str, computed: str, examples: int
) -> dict[str, tuple[float, float]]:
    """The median and the largest error of each average, by one compiled program.

    Args:
      averages: by name.
      given: the dtype of the clouds.
      computed: that of the network.
      examples: the number of clouds.
    """
    draws = np.random.default_rng(0)
    weights = {
        "first": draws.normal(size=(3, _WIDTH)),
        "second": draws.normal(size=(_WIDTH, _WIDTH)) / np.sqrt(_WIDTH),
        "bias": draws.normal(size=(1, _WIDTH)),
    }
    # Away from equal axes, at which no frame of moments is exact.
    clouds = draws.normal(size=(examples, _POINTS, 3)) * np.array([1.0, 1.6, 2.4])
    moves = {name: _motions(average.group, draws, examples) for name, average in averages.items()}
    inputs = {
        name: np.stack([clouds, clouds @ np.swapaxes(linear, 1, 2) + shift[:, None]])
        for name, (linear, shift) in moves.items()
    }

    def run(inputs: Mapping[str, Array], weights: Mapping[str, Array]) -> dict[str, Outputs]:
        def of(weights: Mapping[str, Array]) -> Callable[[Array], Outputs]:
            return lambda points: network(points, weights)

        # Of clouds in bfloat16 everything is so anyway.
        precision: Precision = "bfloat16" if computed == "bfloat16" else "float32"
        function = in_precision(precision, of, weights)
        return {
            name: jax.vmap(jax.vmap(average.wrap(function)))(inputs[name])
            for name, average in averages.items()
        }

    with jax.enable_x64(True):
        args = jax.tree.map(lambda leaf: jnp.asarray(leaf, given), (inputs, weights))
        found = jax.tree.map(lambda leaf: np.asarray(leaf, float), jax.jit(run)(*args))
    result = {}
    for name, (energies, vectors) in found.items():
        expected = np.einsum("nij,nj->ni", moves[name][0], vectors[0])
        away = np.concatenate([(energies[1] - energies[0])[:, None], vectors[1] - expected], axis=1)
        size = np.max(np.abs(np.concatenate([energies[0][:, None], expected], axis=1)), axis=1)
        error = np.max(np.abs(away), axis=1) / size
        result[name] = float(np.median(error)), float(np.max(error))
    return result


def _motions(
    group: sf.Group, draws: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Elements of a group in float64: matrices and shifts."""
    if group.elements is not None:
        chosen = draws.integers(len(group.elements.linear), size=count)
        return np.asarray(group.elements.linear)[chosen], np.zeros((count, 3))
    linear, _ = np.linalg.qr(draws.normal(size=(count, 3, 3)))
    return linear, draws.normal(size=(count, 3))
