"""Temporaries and operations of averages and frames, which are counted and not timed."""

import argparse
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import symjax_frames as sf
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.counts import Counts, counts
from experiments.benchmarks.speed.part import Part

_POINTS, _WIDTH = 32, 64
_GRADIENT = ", gradient"

Function = Callable[..., Array]
Cloud = Float[Array, "points 3"]


def measure(options: argparse.Namespace) -> Part:
    """Counts what the backbone and its averages need, forward and with the gradient."""
    del options
    found = averages()
    caption = (
        f"A network of two layers {_WIDTH} wide on each of {_POINTS} points, float32, averaged over "
        "the 8 elements of a PCA frame. Temporaries: what a call needs beside its arguments and its "
        "result. Operations and bytes are those that the compiler counts; of a loop over elements "
        "it counts one pass."
    )
    rows = []
    for name, cost in found.items():
        alone = found[f"backbone{_GRADIENT}" if name.endswith(_GRADIENT) else "backbone"]
        rows.append(
            [
                name,
                f"{cost.temporaries / 1024:,.1f} kB",
                f"{cost.temporaries / max(alone.temporaries, 1):.2f} x",
                f"{cost.flops:,.0f}",
                f"{cost.flops / alone.flops:.2f} x",
                f"{cost.bytes / 1024:,.0f} kB",
            ]
        )
    names = ["", "temporaries", "backbone", "operations", "backbone", "bytes"]
    numbers = {name: cost._asdict() for name, cost in found.items()}
    return Part(caption, [Table(names, rows)], numbers)


def averages() -> dict[str, Counts]:
    """What a backbone and its averages cost, forward and with the gradient by its weights."""
    functions, args = programs(_POINTS, _WIDTH)
    found = {}
    for name, function in functions.items():
        found[name] = counts(function, *args)
        found[name + _GRADIENT] = counts(jax.grad(function, argnums=(1, 2)), *args)
    return found


def programs(points: int, width: int) -> tuple[dict[str, Function], list[jax.ShapeDtypeStruct]]:
    """A backbone and its averages over a PCA frame, and the shapes of their arguments.

    Args:
      points: of the cloud.
      width: of the two layers of the backbone.
    """
    shapes = (points, 3), (3, width), (width, width)
    # Weights are arguments: the compiler would compute with constants beforehand.
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    average = functools.partial(
        sf.frame_average,
        network,
        sf.pca_frame,
        in_actions=(sf.points, None, None),
        out_actions=None,
    )
    functions: dict[str, Function] = {
        "backbone": network,
        "average": average(),
        "average, two elements at a time": average(batch_size=2),
        "average, one element at a time": average(batch_size=1),
    }
    return functions, args


def network(
    cloud: Cloud, first: Float[Array, "3 width"], second: Float[Array, "width width"]
) -> Float[Array, ""]:
    """A network without any symmetry: two layers on the coordinates of each point, and a sum."""
    return jnp.sum(jnp.tanh(jnp.tanh(cloud @ first) @ second))
