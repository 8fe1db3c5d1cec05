"""What a transformed function keeps of the function that it was made of."""

import functools
import inspect
from collections.abc import Callable
from typing import Any


def named_after[**P, R](
    fn: Callable[..., Any], wrapper: Callable[P, R], *, key_first: bool = False
) -> Callable[P, R]:
    """`wrapper` with the name, docstring and signature of a plain function.

    A network that is an object has no name, and its attributes are not those of the wrapper.

    Args:
      fn: the function that is wrapped.
      wrapper: what it became.
      key_first: whether `wrapper` takes a PRNG key before the arguments of `fn`.
    """
    if not hasattr(fn, "__name__"):
        return wrapper
    named = functools.wraps(fn, updated=())(wrapper)
    if key_first:
        try:
            inner = inspect.signature(fn)
        except (TypeError, ValueError):  # some builtins have no signature
            inner = inspect.Signature()
        key = inspect.Parameter(_new_name("key", inner), inspect.Parameter.POSITIONAL_ONLY)
        signature = inner.replace(parameters=[key, *inner.parameters.values()])
        named.__signature__ = signature  # type: ignore[attr-defined]
    return named


def _new_name(name: str, signature: inspect.Signature) -> str:
    return name if name not in signature.parameters else _new_name(f"_{name}", signature)
