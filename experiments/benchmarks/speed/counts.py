"""What is counted of a compiled program and not timed: it is the same in every run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Counts(NamedTuple):
    """What one call of a program costs, by the analysis of its compiler.

    Attributes:
      flops: operations on floating point numbers.
      bytes: read and written by its kernels.
      temporaries: bytes that it needs beside its arguments and its result.
      result: bytes of its result.
    """

    flops: float
    bytes: float
    temporaries: int
    result: int


def counts(function: Callable[..., Any], *args: Any) -> Counts:
    """Compiles a function and reads what it costs; nothing runs.

    Args:
      function: a pure function.
      args: its arguments, or their shapes as `jax.ShapeDtypeStruct`.
    """
    return counts_of(jax.jit(function).lower(*args).compile())


def operations(function: Callable[..., Any], *args: Any) -> float:
    """The operations of a function before the compiler has improved it, which is counted at once.

    Args:
      function: a pure function.
      args: its arguments, or their shapes as `jax.ShapeDtypeStruct`.
    """
    cost: Any = jax.jit(function).lower(*args).cost_analysis()
    return float(cost.get("flops", 0.0))


def counts_of(compiled: jax.stages.Compiled) -> Counts:
    """The costs of a compiled program."""
    cost: Any = compiled.cost_analysis()
    memory: Any = compiled.memory_analysis()
    return Counts(
        float(cost.get("flops", 0.0)),
        float(cost.get("bytes accessed", 0.0)),
        int(memory.temp_size_in_bytes),
        int(memory.output_size_in_bytes),
    )
