"""A convolution of images whose batch stays split over a mesh where many group elements see it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_LAYOUTS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}

_convolution = Primitive("images_convolution")


def convolution(
    images: Float[Array, "batch *grid in"],
    kernel: Float[Array, "*window in out"],
    *,
    padding: str | int,
    stride: int = 1,
    precision: jax.lax.Precision | None = None,
) -> Float[Array, "batch *out_grid out"]:
    """`jax.lax.conv_general_dilated` of images or volumes, channels last.

    A convolution has one axis of images, into which `jax.vmap` merges its own. JAX puts that first:
    images that are split over devices are then no longer contiguous on any, and every device
    convolves all of them. Here the axis of the first `jax.vmap`, such as that of the elements of a
    group, is merged behind the images, and every device convolves its own.

    Args:
      images: the images.
      kernel: the kernel, of two or three axes of pixels.
      padding: `"SAME"`, `"VALID"`, or the number of zeros on every side.
      stride: pixels from one output to the next.
      precision: of the products.
    """
    return _convolution.bind(images, kernel, padding=padding, stride=stride, precision=precision)


def _plain(
    images: Array, kernel: Array, *, padding: str | int, stride: int, precision: Any
) -> Array:
    dim = kernel.ndim - 2
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        [stride] * dim,
        [(padding, padding)] * dim if isinstance(padding, int) else padding,
        dimension_numbers=_LAYOUTS[dim],
        precision=precision,
    )


def _abstract(*avals: Any, **options: Any) -> Any:
    (aval,) = jax.make_jaxpr(lambda *args: _plain(*args, **options))(*avals).out_avals
    return aval


def _derivative(primals: Sequence[Array], tangents: Sequence[Any], **options: Any) -> Any:
    tangents = tuple(ad.instantiate_zeros(tangent) for tangent in tangents)
    return jax.jvp(lambda *args: _plain(*args, **options), tuple(primals), tangents)


def _batch(args: Sequence[Array], axes: Sequence[int | None], **options: Any) -> tuple[Array, int]:
    images, kernel = args
    where, shared = axes[0], axes[1] is None
    if not shared or where is None:
        return jax.vmap(lambda *args: _plain(*args, **options), tuple(axes))(*args), 0
    images = jnp.moveaxis(images, where, 1)
    batch, copies, *rest = images.shape
    outputs = _plain(images.reshape(batch * copies, *rest), kernel, **options)
    return outputs.reshape(batch, copies, *outputs.shape[1:]), 1


_convolution.def_impl(jax.jit(_plain, static_argnames=("padding", "stride", "precision")))
_convolution.def_abstract_eval(_abstract)
ad.primitive_jvps[_convolution] = _derivative
batching.primitive_batchers[_convolution] = _batch
mlir.register_lowering(_convolution, mlir.lower_fun(_plain, multiple_results=False))
