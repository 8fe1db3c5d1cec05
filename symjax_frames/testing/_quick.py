"""Compilation for programs that run a few times: on CPUs it takes half as long, and they run slower."""

from collections.abc import Callable
from typing import Any

import jax


def quick_jit(fn: Callable, **options: Any) -> Any:
    """`jax.jit` without the optimisations of the backend; not to be called in another `jax.jit`."""
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_backend_optimization_level": 0}
    return jax.jit(fn, **options)
