"""Time and memory against every size that may be large, with fitted exponents."""

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

import symjax_frames as sf
from experiments.benchmarks.figures.speed import growth
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.counts import counts_of
from experiments.benchmarks.speed.frames import projection
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.timing import Stopwatch, spreads, stopwatch
from symjax_frames import nn

_FITTED = 4
"""The largest sizes of a sweep that its exponent is fitted to."""
_FEATURES = 8

Program = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and its arguments or their shapes."""


class Sweep(NamedTuple):
    """One quantity that grows, and a program for each of its values.

    Attributes:
      size: what grows.
      sizes: its values.
      program: from a value to the program.
    """

    size: str
    sizes: Sequence[int]
    program: Callable[[int], Program]


def measure(options: argparse.Namespace) -> Part:
    """Times and counts every sweep."""
    numbers: dict[str, Any] = {}
    for name, sweep in sweeps(options).items():
        watches: dict[int, Stopwatch] = {}
        memory = []
        for size in sweep.sizes:
            function, shapes = sweep.program(size)
            compiled = jax.jit(function).lower(*shapes).compile()
            call = functools.partial(compiled, *jax.tree.map(_drawn, shapes))
            watches[size] = stopwatch(call, options.clock)
            memory.append(counts_of(compiled).temporaries)
        times = spreads(watches, min(options.repeats, 10))
        medians = [time.median for time in times.values()]
        numbers[name] = {
            "size": sweep.size,
            "sizes": list(sweep.sizes),
            "ms": [time._asdict() for time in times.values()],
            "temporaries": memory,
            "exponent_of_time": exponent(sweep.sizes, medians),
            "exponent_of_memory": exponent(sweep.sizes, memory),
        }
    caption = (
        f"Exponents are of a power law through the {_FITTED} largest sizes. Robust frames have the "
        "room of their defaults; networks are averaged over all elements of a group at once; "
        f"convolutions have {_FEATURES} features for each group element."
    )
    return Part(caption, [_table(numbers)], numbers, functools.partial(_draw, numbers))


def sweeps(options: argparse.Namespace) -> dict[str, Sweep]:
    """The sweeps by name.

    Args:
      options: their largest sizes: `pca_points`, `robust_points`, `clouds`, `elements` and `side`.
    """
    points, elements = "points", "elements"
    most = options.elements
    return {
        "PCA frame": Sweep(points, powers(100, options.pca_points), _of_points(sf.pca_frame)),
        "robust frame": Sweep(points, powers(10, options.robust_points), _of_points(_robust)),
        "PCA frames of 5 points": Sweep("clouds", powers(16, options.clouds, 4), _of_clouds),
        "average over a group": Sweep(elements, powers(1, most, 2), _of_elements),
        "robust frame of 30 points": Sweep(elements, powers(4, most, 2), _of_room),
        "group convolution": Sweep("group order", powers(1, min(most, 16), 2), _of_order),
        "group convolution, C4": Sweep("side", powers(8, options.side, 2), _of_side),
    }


def powers(first: int, last: int, ratio: int = 10) -> list[int]:
    """The first, as many times the ratio as the last allows; ten is taken in two steps."""
    count = math.floor(math.log(last / first, ratio) + 1e-9) if last > first else 0
    if ratio != 10:
        return [first * ratio**power for power in range(count + 1)]
    sizes = [first * 10**power * step for power in range(count + 1) for step in (1, 3)]
    return [size for size in sizes if size <= max(first, last)]


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of values against sizes on logarithmic axes, by least squares on the largest."""
    kept = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(kept) < 2:
        return math.nan
    x, y = np.log(kept[-_FITTED:]).T
    return float(np.polyfit(x, y, 1)[0])


def _drawn(shape: jax.ShapeDtypeStruct) -> Array:
    draw = np.random.default_rng(0).normal(size=shape.shape)
    return jnp.asarray(draw, shape.dtype)


def _shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def _robust(points: Array) -> sf.Frame:
    return sf.robust_frame(points)


def _of_points(frame: Callable[[Array], sf.Frame]) -> Callable[[int], Program]:
    return lambda count: (frame, (_shape(count, 3),))


def _of_clouds(count: int) -> Program:
    return jax.vmap(projection(sf.pca_frame)), (_shape(count, 5, 3),)


def _of_elements(order: int) -> Program:
    average = sf.group_average(
        _network, sf.cyclic(order), in_actions=(sf.points, None, None), out_actions=None
    )
    return average, (_shape(100, 2), _shape(2, 64), _shape(64, 64))


def _network(cloud: Array, first: Array, second: Array) -> Array:
    return jnp.sum(jnp.tanh(jnp.tanh(cloud @ first) @ second))


def _of_room(elements: int) -> Program:
    frame = functools.partial(sf.robust_frame, max_elements=elements)
    return jax.vmap(projection(frame)), (_shape(256, 30, 3),)


def _of_order(order: int) -> Program:
    return _convolution(order, 16)


def _of_side(side: int) -> Program:
    return _convolution(4, side)


def _convolution(order: int, side: int) -> Program:
    layer = nn.GroupConv(sf.cyclic(order), _FEATURES, _FEATURES, 3, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    params = nnx.to_pure_dict(state)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)

    def forward(params: Any, images: Array) -> Array:
        return nnx.merge(graph, nnx.State(params))(images)

    return forward, (shapes, _shape(8, side, side, order, _FEATURES))


def _table(numbers: dict[str, Any]) -> Table:
    rows = []
    for name, found in numbers.items():
        first, last = found["sizes"][0], found["sizes"][-1]
        times = [time["median"] for time in found["ms"]]
        memory = [
            f"{size / 1024:,.0f}" for size in (found["temporaries"][0], found["temporaries"][-1])
        ]
        rows.append(
            [
                name,
                f"{first:,} to {last:,} {found['size']}",
                f"{times[0]:.3g} to {times[-1]:.3g} ms",
                f"{found['exponent_of_time']:.2f}",
                f"{memory[0]} to {memory[1]} kB",
                f"{found['exponent_of_memory']:.2f}",
            ]
        )
    return Table(["", "size", "time", "exponent", "temporaries", "exponent"], rows)


def _draw(numbers: dict[str, Any], folder: Path) -> list[Path]:
    """Times in the first row, temporaries in the second; a column for each quantity that grows."""
    panels: dict[str, dict[str, tuple[Any, Any, float]]] = {}
    for unit, key in (("ms", "exponent_of_time"), ("kB", "exponent_of_memory")):
        for name, found in numbers.items():
            times = [time["median"] for time in found["ms"]]
            values = times if unit == "ms" else [size / 1024 for size in found["temporaries"]]
            pairs = zip(found["sizes"], values, strict=True)
            kept = [(size, value) for size, value in pairs if value > 0]
            curves = panels.setdefault(f"{unit} against {found['size']}", {})
            if len(kept) > 1:
                sizes, above = zip(*kept, strict=True)
                curves[name] = sizes, above, found[key]
    path = folder / "speed_growth.png"
    growth(path, panels, columns=len(panels) // 2)
    return [path]
