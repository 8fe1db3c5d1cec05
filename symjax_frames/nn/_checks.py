"""Static checks of networks. Each raises one ValueError that names the argument."""

from jaxtyping import Array

from symjax_frames._checks import is_integer


def check_features(name: str, value: int) -> None:
    """Raises unless `value` is an integer of at least 0: a node or edge may have no features."""
    if not is_integer(value) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {value!r}")


def check_shape(name: str, array: Array, expected: tuple[int, ...]) -> None:
    """Raises unless `array` has the expected shape, before it broadcasts to a wrong result."""
    if array.shape != expected:
        raise ValueError(
            f"{name} must have shape {expected} for this network and this graph, got {array.shape}"
        )
