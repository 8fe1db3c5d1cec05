"""Whether a function is traced once, or again in every call."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import monitoring

_TRACED = "/jax/core/compile/jaxpr_trace_duration"


def count_retraces(fn: Callable[..., Any], calls: Sequence[tuple]) -> int:
    """The number of functions JAX traces when `fn` is called as it is, after two calls to warm up.

    Args:
      fn: the function.
      calls: arguments of the same shapes, at least three sets.
    """
    traced = 0

    def listen(event: str, *_: Any, **__: Any) -> None:
        nonlocal traced
        traced += event == _TRACED

    # Two calls to warm up: a function that caches a result of its first call may be traced in its
    # second call once more.
    for args in calls[:2]:
        jax.block_until_ready(fn(*args))
    monitoring.register_event_duration_secs_listener(listen)
    try:
        for args in calls[2:]:
            jax.block_until_ready(fn(*args))
    finally:
        monitoring.unregister_event_duration_listener(listen)
    return traced
