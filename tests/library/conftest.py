from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_quickly() -> Iterator[None]:
    """Spares LLVM's optimisations: nearly all of the time of these tests is compilation.

    The laws are of mathematics, and hold for the slower machine code as well.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
