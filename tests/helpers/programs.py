"""What is in a traced or lowered program: its products, and its calls back to Python."""

import re
from collections.abc import Iterator
from typing import Any

from jax import export
from jax.extend import core
from jax.lax import Precision

PLATFORMS = ("cpu", "cuda", "tpu")


def products(program: Any) -> Iterator[Any]:
    """The products of matrices and convolutions of a program, those of inner programs too."""
    for equation in getattr(program, "jaxpr", program).eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                if isinstance(inner, core.Jaxpr | core.ClosedJaxpr):
                    yield from products(inner)


def is_exact(product: Any) -> bool:
    """Whether no accelerator rounds the factors of a product."""
    precision = product.params["precision"]
    both = precision if isinstance(precision, tuple) else (precision,)
    return all(one == Precision.HIGHEST for one in both)


def text_of(function: Any, *args: Any) -> str:
    """A jitted function, lowered for all platforms at once."""
    return export.export(function, platforms=PLATFORMS)(*args).mlir_module()


def callbacks(text: str) -> list[str]:
    """The calls to Python in a lowered program."""
    return re.findall(r"@\w*callback\w*", text)
