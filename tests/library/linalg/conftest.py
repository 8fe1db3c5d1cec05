import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_quickly() -> None:
    """Compiles as users do: these tests count roundings, which optimisations may change."""
