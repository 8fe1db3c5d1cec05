"""What an average says of functions that change a state of their own."""

from collections.abc import Callable
from typing import Any


def call_stateless(fn: Callable, args: tuple, kwargs: dict) -> Any:
    """Calls `fn`, which is evaluated for all elements at once and must not change any state.

    Raises:
      ValueError: if a module of Flax would change its state; it has made an error of that.
    """
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        # By name: the library does not import Flax.
        if type(error).__name__ not in ("TraceContextError", "ModifyScopeVariableError"):
            raise
        name = getattr(fn, "__name__", type(fn).__name__)
        raise ValueError(
            f"the averaged function {name} changes a state, such as that of dropout or of running "
            "statistics, here once for every element of the frame. For an NNX module in training, take "
            "symjax_frames.nn.averaged(module, ...), which draws one mask for all elements; for "
            "evaluation, call eval() on the module first (in Linen, use_running_average=True)"
        ) from error
