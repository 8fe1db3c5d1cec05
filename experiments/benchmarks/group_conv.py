"""Time of lifting and group convolutions on C4 against plain convolutions of the same size.

A plain convolution has as many channels, in and out, as the other has features and group elements.
Run with `python -m experiments benchmark group_conv`, on a machine that does nothing else.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.options import positive
from experiments.benchmarks.timing import Call, make_parser, medians, prepare, start
from experiments.table import print_table
from symjax_frames import nn

_GROUP = sf.cyclic(4)
_ORDER = 4
_GOALS = {"lifting": 1.1, "group": 1.15}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each layer and size of image.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    device = start(options.threads)
    layers = [*(("lifting", count) for count in options.inputs), ("group", options.features)]
    rows = [_row(options, side, *layer) for side in options.sides for layer in layers]
    console = Console()
    console.print(
        f"C4, batches of {options.batch}, {options.features} features for each element, kernels of "
        f"{options.kernel_size} x {options.kernel_size}, float32, on {device}; medians of "
        f"{options.repeats}; step: gradients by parameters and input",
        soft_wrap=True,
    )
    names = ["layer", "image", "forward", "plain", "ratio", "step", "plain", "ratio", "goal"]
    print_table(console, names, rows)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=positive, default=100, help="images at a time")
    parser.add_argument("--features", type=positive, default=16, help="of each group element")
    parser.add_argument("--kernel-size", type=positive, default=3, help="side of a kernel, odd")
    parser.add_argument(
        "--sides", type=positive, nargs="+", default=[28, 14], help="sides of the images"
    )
    parser.add_argument(
        "--inputs", type=positive, nargs="+", default=[1, 16], help="channels that are lifted"
    )
    return parser


def _row(options: argparse.Namespace, side: int, kind: str, inputs: int) -> list[str]:
    features, size, rngs = options.features, options.kernel_size, nnx.Rngs(0)
    ours: nnx.Module
    if kind == "lifting":
        ours = nn.LiftingConv(_GROUP, inputs, features, size, rngs=rngs)
        shape: tuple[int, ...] = (inputs,)
    else:
        ours = nn.GroupConv(_GROUP, inputs, features, size, rngs=rngs)
        shape = (_ORDER, inputs)
    plain = nnx.Conv(math.prod(shape), _ORDER * features, (size, size), rngs=rngs)
    values = np.random.default_rng(0).normal(size=(options.batch, side, side, *shape))
    x = jnp.asarray(values, jnp.float32)
    flat = x.reshape(*x.shape[:3], -1)
    calls: dict[tuple[str, str], Call] = {}
    for name, layer, maps in (("ours", ours, x), ("plain", plain, flat)):
        forward, step, params = _functions(layer)
        calls["forward", name], _ = prepare(forward, params, maps)
        calls["step", name], _ = prepare(step, params, maps)
    times = medians(calls, options.repeats)
    row = [f"{kind}, {inputs} -> {features}", f"{side} x {side}"]
    for part in ("forward", "step"):
        mine, theirs = times[part, "ours"], times[part, "plain"]
        row += [f"{mine:.2f} ms", f"{theirs:.2f} ms", f"{mine / theirs:.3f}"]
    return [*row, f"{_GOALS[kind]}"]


def _functions(layer: nnx.Module) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    # A module as an argument would be taken apart in Python on every call.
    graph, state = nnx.split(layer)

    def forward(params: Any, x: Array) -> Array:
        # Channels on one axis, as the next layer takes them: two short axes are slow to run over.
        return nnx.merge(graph, nnx.State(params))(x).reshape(*x.shape[:3], -1)

    def loss(params: Any, x: Array) -> Array:
        return jnp.sum(forward(params, x) ** 2)

    return forward, jax.value_and_grad(loss, argnums=(0, 1)), nnx.to_pure_dict(state)
