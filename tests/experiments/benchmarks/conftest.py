import jax
import pytest


@pytest.fixture(scope="module")
def compiled_fast():
    """For programs that run once or twice: optimizing them takes longer than running them."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
