"""Static checks of networks. Each raises one ValueError that names the argument."""

from jaxtyping import Array


def check_length(name: str, length: float) -> None:
    """Raises unless `length` is positive."""
    if not length > 0:
        raise ValueError(f"{name} must be a positive length, got {length!r}")


def check_shape(name: str, array: Array, expected: tuple[int, ...]) -> None:
    """Raises unless `array` has the expected shape, before it broadcasts to a wrong result."""
    if array.shape != expected:
        raise ValueError(
            f"{name} must have shape {expected} for this network and this graph, got {array.shape}"
        )
