"""The order of the six components of a symmetric matrix; it loads nothing, as configurations do not."""

import re

VOIGT_ORDER = "xx yy zz yz xz xy"
"""The order in ASE."""


def places_of(order: str) -> list[tuple[int, int]] | None:
    """The place in a matrix of each of six components; `None` if they are not the six.

    Args:
      order: such as `VOIGT_ORDER`; yx is xy.
    """
    words = order.lower().split()
    found = [
        tuple(sorted(map("xyz".find, word))) for word in words if re.fullmatch("[xyz]{2}", word)
    ]
    return [(row, column) for row, column in found] if len(words) == len(set(found)) == 6 else None
