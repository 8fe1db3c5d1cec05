"""Time of the closed-form symmetric eigenproblem against `jnp.linalg.eigh`.

Run with `python -m experiments.benchmarks.eigh`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from symjax_frames.linalg import eigh

BATCH = 16_384
REPEATS = 30


def milliseconds(function: Callable[..., Any], *args: Any) -> tuple[float, float]:
    """Time to compile a function, and the median time of a call of the compiled one."""
    lowered = jax.jit(function).lower(*args)
    start = time.perf_counter()
    compiled = lowered.compile()
    compilation = time.perf_counter() - start
    jax.block_until_ready(compiled(*args))
    calls = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        calls.append(time.perf_counter() - start)
    return 1e3 * compilation, 1e3 * statistics.median(calls)


def main() -> None:
    """Prints a line for each dimension, value and derivative."""
    device = jax.devices()[0].device_kind
    print(f"{BATCH} float32 matrices on {device}, median of {REPEATS} calls")
    print(f"{'':22}{'eigh':>10}{'jnp.linalg':>12}{'ratio':>8}{'compiles in':>14}")
    for dim in (2, 3):
        factors = jax.random.normal(jax.random.key(0), (BATCH, dim, dim), jnp.float32)
        matrices = factors + jnp.swapaxes(factors, -1, -2)

        def gradient(solve: Callable[..., Any]) -> Callable[..., Any]:
            return jax.grad(lambda matrix: jnp.sum(jnp.sin(solve(matrix)[1])))

        for name, ours, theirs in (
            (f"{dim}x{dim} value", eigh, jnp.linalg.eigh),
            (f"{dim}x{dim} gradient", gradient(eigh), gradient(jnp.linalg.eigh)),
        ):
            compilation, own = milliseconds(ours, matrices)
            _, reference = milliseconds(theirs, matrices)
            print(
                f"{name:22}{own:>7.2f} ms{reference:>9.2f} ms{reference / own:>7.1f}x"
                f"{compilation:>11.0f} ms"
            )


if __name__ == "__main__":
    main()
