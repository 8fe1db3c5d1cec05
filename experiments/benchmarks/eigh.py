"""Time of the closed-form symmetric eigenproblem against `jnp.linalg.eigh`.

Run with `python -m experiments benchmark eigh`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from experiments.benchmarks.options import positive
from experiments.benchmarks.timing import make_parser, medians, prepare, start
from experiments.table import print_table
from symjax_frames.linalg import eigh


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each dimension, value and derivative.

    Args:
      arguments: the command line, that of the process by default.
    """
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=positive, default=16_384, help="matrices at a time")
    options = parser.parse_args(arguments)
    device = start(options.threads)
    rows = []
    for dim in (2, 3):
        shape = (options.batch, dim, dim)
        factors = jax.random.normal(jax.random.key(0), shape, jnp.float32)
        matrices = factors + jnp.swapaxes(factors, -1, -2)
        for name, wrap in ((f"{dim}x{dim} value", _value), (f"{dim}x{dim} gradient", _gradient)):
            ours, compilation = prepare(wrap(eigh), matrices)
            theirs, _ = prepare(wrap(jnp.linalg.eigh), matrices)
            times = medians({"ours": ours, "theirs": theirs}, options.repeats)
            milliseconds = [f"{times['ours']:.2f} ms", f"{times['theirs']:.2f} ms"]
            speed = f"{times['theirs'] / times['ours']:.1f} x"
            rows.append([name, *milliseconds, speed, f"{compilation:.0f} ms"])
    console = Console()
    console.print(
        f"{options.batch} float32 matrices on {device}; medians of {options.repeats}",
        soft_wrap=True,
    )
    print_table(console, ["", "eigh", "jnp.linalg.eigh", "faster by", "compiles in"], rows)


def _value(solve: Callable[..., Any]) -> Callable[..., Any]:
    return solve


def _gradient(solve: Callable[..., Any]) -> Callable[..., Any]:
    return jax.grad(lambda matrix: jnp.sum(jnp.sin(solve(matrix)[1])))
