"""Lifting and group convolutions: one ordinary convolution for all elements of a finite group."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import check_positive
from symjax_frames._convolution import convolution
from symjax_frames.correlation import harmonic_basis, kernel_basis, pixel_basis
from symjax_frames.groups import Group, quotient_table

BASES: dict[str, Callable[[Group, int], np.ndarray]] = {
    "auto": kernel_basis,
    "pixels": pixel_basis,
    "harmonics": harmonic_basis,
}

_EXACT = jax.lax.Precision.HIGHEST
_AXES = ("depth", "height", "width")


class _GridConv(nnx.Module):
    """The common part of both convolutions: the basis of the kernels, the bias, the padding."""

    def __init__(
        self,
        group: Group,
        in_features: int,
        out_features: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: str | int = "SAME",
        basis: str = "auto",
        use_bias: bool = True,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_positive("kernel_size", kernel_size)
        check_positive("stride", stride)
        check_positive("in_features", in_features)
        check_positive("out_features", out_features)
        if basis not in BASES:
            raise ValueError(f"basis must be one of {', '.join(BASES)}, got {basis!r}")
        self.group, self.basis = group, basis
        self.kernel_size, self.stride = kernel_size, stride
        self.padding = _symmetric_padding(padding, kernel_size)
        fan = (*self._group_axis(group), in_features)
        count = self._kernels().shape[-1]
        # Unit kernels: the response to white noise has twice its variance, as rectifiers want it.
        scale = np.sqrt(2 / (count * np.prod(fan)))
        shape = (count, *fan, out_features)
        draw = jax.random.normal(rngs.params(), shape, param_dtype)
        self.kernel = nnx.Param(jnp.asarray(scale, param_dtype) * draw)
        self.bias = nnx.Param(jnp.zeros(out_features, param_dtype)) if use_bias else None

    def _group_axis(self, group: Group) -> tuple[int, ...]:
        """The shape of the group axis of the input."""
        raise NotImplementedError

    def _kernels(self) -> np.ndarray:
        return BASES[self.basis](self.group, self.kernel_size)

    def _move(self, contraction: str, weight: Array) -> Array:
        """The kernels of all elements, of shape `(pixels, ...)`, from the weights of the basis."""
        basis = self._kernels()
        flat = jnp.asarray(basis.reshape(len(basis), -1, basis.shape[-1]), weight.dtype)
        return jnp.einsum(contraction, flat, weight, precision=_EXACT)

    def _convolve(self, x: Array, kernel: Array) -> Float[Array, "batch *grid order out"]:
        dim = self.group.dim
        for axis, length in zip(_AXES[-dim:], x.shape[1:-1], strict=True):
            _check_symmetric(axis, length, self.kernel_size, self.stride, self.padding)
        order, features = kernel.shape[-2:]
        y = convolution(
            x,
            kernel.reshape(*[self.kernel_size] * dim, -1, order * features),
            padding=self.padding,
            stride=self.stride,
        )
        if self.bias is not None:
            # Copies by a product with zeros and ones, which is exact and small. XLA would fuse a
            # jnp.tile into the loop over the maps and make it a fifth slower on CPU.
            copies = jnp.asarray(np.tile(np.eye(features), order), self.bias.dtype)
            y += jnp.broadcast_to(jnp.matmul(self.bias[...], copies, precision=_EXACT), y.shape)
        return y.reshape(*y.shape[:-1], order, features)


class LiftingConv(_GridConv):
    r"""Lifts an image to the group: correlation with a kernel moved by every element.

    Formula: $(L f)(x, g) = \sum_y \langle f(y), (g.k)(y - x) \rangle + b$, with
    $(g.k)(p) = k(g^{-1} p)$. Moving the image moves every map and permutes the group axis,
    $(L\, g.f)(x, h) = (L f)(g^{-1}x, g^{-1}h)$: exactly for elements that keep the grid, with the
    error of the sampling for others.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from flax import nnx
      >>> from symjax_frames.nn import LiftingConv
      >>> lift = LiftingConv(sf.cyclic(4), 3, 8, rngs=nnx.Rngs(0))
      >>> jax.jit(lift)(jnp.ones((2, 28, 28, 3))).shape
      (2, 28, 28, 4, 8)

    Args:
      group: a finite group of the plane, `cyclic(n)` or `dihedral(n)`, or, for volumes of shape
        `(batch, depth, height, width, in_features)`, one of space that keeps the grid, such as
        `octahedral()`.
      in_features: channels of the image.
      out_features: features for each group element.
      kernel_size: pixels along a side of the kernels.
      stride: pixels from one output to the next.
      padding: `"SAME"` (zeros; odd kernels only), `"VALID"` (none), or the number of pixels of zeros
        added on every side. All sides get the same: anything else breaks the symmetry.
      basis: of the kernels: `"pixels"` (groups that keep the grid), `"harmonics"` (all groups of the
        plane), or `"auto"`, pixels where they serve.
      use_bias: whether to add a number to each feature, the same for all group elements.
      param_dtype: the dtype of the parameters.
      rngs: where they are drawn from.

    Raises:
      ValueError: if an argument is not of its kind or the padding is not symmetric; when called, if
        the input is not of the shape and dtype of the layer, or a stride leaves out rows on one
        side only.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, arXiv:1602.07576.
    """

    def _group_axis(self, group: Group) -> tuple[int, ...]:
        return ()

    def __call__(
        self, x: Float[Array, "batch *grid in"]
    ) -> Float[Array, "batch *out_grid order out"]:
        """Applies the layer."""
        weight = jnp.asarray(self.kernel[...])
        _check_input(x, self.group.dim, weight.shape[1:2], weight.dtype, "in_features")
        return self._convolve(x, self._move("gpb,bxy->pxgy", weight))


class GroupConv(_GridConv):
    r"""Correlation on the group, between feature maps with a group axis.

    Formula:
    $(f \star k)(x, g) = \sum_{y, h} \langle f(y, h), k(g^{-1}(y - x), g^{-1}h) \rangle + b$, from
    and to the regular representation: equivariant as `LiftingConv` is.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from flax import nnx
      >>> from symjax_frames.nn import GroupConv
      >>> layer = GroupConv(sf.dihedral(4), 5, 6, rngs=nnx.Rngs(0))
      >>> jax.jit(layer)(jnp.ones((2, 14, 14, 8, 5))).shape
      (2, 14, 14, 8, 6)

    Args:
      group: as in `LiftingConv`, the group whose axis the feature maps have.
      in_features: features for each group element of the input.
      out_features: features for each group element of the output.
      kernel_size: as in `LiftingConv`, and so are the others.
      stride: pixels from one output to the next.
      padding: `"SAME"`, `"VALID"`, or the zeros on every side.
      basis: `"auto"`, `"pixels"` or `"harmonics"`.
      use_bias: whether to add a number to each feature.
      param_dtype: the dtype of the parameters.
      rngs: where they are drawn from.

    Raises:
      ValueError: as `LiftingConv`.

    References:
      Cohen & Welling, Group Equivariant Convolutional Networks, ICML 2016, arXiv:1602.07576.
    """

    def _group_axis(self, group: Group) -> tuple[int, ...]:
        return (len(quotient_table(group)),)

    def __call__(
        self, x: Float[Array, "batch *grid order in"]
    ) -> Float[Array, "batch *out_grid order out"]:
        """Applies the layer."""
        weight = jnp.asarray(self.kernel[...])
        _check_input(x, self.group.dim, weight.shape[1:3], weight.dtype, "order, in_features")
        moved = weight[:, quotient_table(self.group)]  # basis, g, h: the kernel at g^-1 h
        kernel = self._move("gpb,bghxy->phxgy", moved)
        # Elements and features are one axis to a convolution.
        return self._convolve(x.reshape(*x.shape[:-2], kernel.shape[1] * kernel.shape[2]), kernel)


def _symmetric_padding(padding: str | int, kernel_size: int) -> int:
    if isinstance(padding, int) and not isinstance(padding, bool) and padding >= 0:
        return padding
    if padding == "VALID":
        return 0
    if padding != "SAME":
        raise ValueError(
            "padding must be 'SAME', 'VALID' or a number of zeros, the same on every side, got "
            f"{padding!r}"
        )
    if kernel_size % 2 == 0:
        raise ValueError(
            f"padding='SAME' with kernel_size={kernel_size} would add one row more on one side than on "
            "the other, which breaks the symmetry; use an odd kernel, or padding='VALID' or a number"
        )
    return kernel_size // 2


def _check_symmetric(axis: str, length: int, kernel_size: int, stride: int, padding: int) -> None:
    span = length + 2 * padding - kernel_size
    if span < 0:
        raise ValueError(
            f"kernel_size={kernel_size} is larger than the padded {axis}, {length + 2 * padding}"
        )
    if span % stride:
        raise ValueError(
            f"stride={stride} does not divide {axis} + 2 * padding - kernel_size = {length} + "
            f"{2 * padding} - {kernel_size} = {span}: outputs would leave out pixels on one side only, "
            "which breaks the symmetry"
        )


def _check_input(x: Array, dim: int, last: tuple[int, ...], dtype: Any, features: str) -> None:
    if x.ndim != 1 + dim + len(last) or x.shape[1 + dim :] != last:
        raise ValueError(
            f"input must have axes (batch, {', '.join(_AXES[-dim:])}, {features}) ending in {last} for "
            f"this layer, got {x.shape}"
        )
    if x.dtype != dtype:
        raise ValueError(f"input must have the dtype of the parameters, {dtype}, got {x.dtype}")
