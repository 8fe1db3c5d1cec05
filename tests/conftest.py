"""Settings of every test: both precisions, strict promotion, and one cache of compiled programs."""

import gc
import os
from collections.abc import Iterator

import jax
import pytest

from tests.helpers import hooks

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    """Compiles fast, and once for all tests, their workers, and the processes that they start.

    Nearly all of the time of a test is compilation, and half of that the optimisation of programs that
    run once. `JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest` compiles as users do.
    """
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(config.rootpath / ".pytest_cache" / "compiled")
    )
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    # For processes that are started later; in this one JAX has read its environment already.
    quick = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    jax.config.update("jax_disable_most_optimizations", quick)
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the guides, the longest tests, so that no worker is left alone with one."""
    items.sort(key=lambda item: "guides" not in item.name)


def pytest_collection_finish() -> None:
    """Spares all that was imported from the collector of garbage, which took 7 % of the time."""
    gc.collect()
    gc.freeze()
    # Traces make many objects and few cycles: with the thresholds by default another 5 %.
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """Compiles as users do, for tests that count roundings."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def keys() -> Iterator[jax.Array]:
    """An endless supply of PRNG keys, the same in every run."""

    def supply():
        key = jax.random.key(0)
        while True:
            key, draw = jax.random.split(key)
            yield draw

    return supply()


@pytest.fixture
def unhooked():
    """Turns the shape checks of the tests off, so that a user's own errors are what is seen."""
    with hooks.unhooked():
        yield
