"""The checks of shapes and types that the tests put on the library."""

import contextlib
from collections.abc import Iterator

import jaxtyping


@contextlib.contextmanager
def unhooked() -> Iterator[None]:
    """Without them: for users' own errors, and for lengths that `jax.export` keeps open."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
