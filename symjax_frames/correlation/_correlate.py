"""Correlation and convolution of images with kernels, and how a group moves kernels."""

import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from symjax_frames._checks import describe
from symjax_frames._convolution import convolution
from symjax_frames.actions import fields

kernels = fields(channel_axes=2)
r"""Action on kernels of shape `(size, size, in_features, out_features)`: $(g.k)(p) = k(g^{-1} p)$.

A kernel is an image over its first two axes, with two axes of channels that stay. C4 and D4 permute
its pixels exactly; other elements interpolate bilinearly. `harmonic_basis` needs no interpolation.
"""

kernels_3d = fields(channel_axes=2, dim=3)
"""Action on kernels of volumes, of shape `(size, size, size, in_features, out_features)`.

The octahedral groups permute its voxels exactly.
"""


def correlate(
    image: Float[Array, "*batch_and_grid in_features"],
    kernel: Float[Array, "*window in_features out_features"],
    *,
    padding: str = "SAME",
) -> Float[Array, "*batch_and_out_grid out_features"]:
    r"""Cross-correlation of images with a kernel, at the full precision of the dtype.

    Formula: $(k \star f)(x)_o = \sum_y \sum_i f(y)_i\, k(y - x)_{io}$, with the origin of the
    kernel at its centre and zeros outside the image. A symmetry of the grid that turns the image
    and the kernel turns the output, $(g.k) \star (g.f) = g.(k \star f)$.

    For that, the output must have its centre where the input has. It always has with `"VALID"`, and
    with `"SAME"` for kernels of odd size. A kernel of even size has no pixel at its centre: with
    `"SAME"` the output is shifted by half a pixel, and a turned input does not give the turned
    output.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.correlation import correlate, kernels
      >>> image, kernel = jnp.arange(16.0).reshape(4, 4, 1), jnp.arange(9.0).reshape(3, 3, 1, 1)
      >>> turn = sf.Isometry(jnp.array([[0.0, -1.0], [1.0, 0.0]]), jnp.zeros(2))
      >>> @jax.jit
      ... def both(image, kernel):
      ...     turned = correlate(sf.images.push(turn, image), kernels.push(turn, kernel))
      ...     return turned, sf.images.push(turn, correlate(image, kernel))
      >>> bool(jnp.allclose(*both(image, kernel)))
      True

    Args:
      image: one image `(height, width, in_features)` or any number of them; with a kernel of three
        dimensions a volume `(depth, height, width, in_features)`, or any number of them.
      kernel: the kernel `(rows, columns, in_features, out_features)`, or, for volumes, with a first
        axis more.
      padding: `"SAME"`, zeros around the image so that the output has its size, or `"VALID"`, only
        where the whole kernel lies on the image.

    Returns:
      The correlation, one map per output feature.

    Raises:
      ValueError: if the shapes, dtypes or the padding do not fit each other.
    """
    dim = _check(image, kernel, padding)
    lead = image.shape[: -dim - 1]
    output = convolution(
        image.reshape(-1, *image.shape[-dim - 1 :]),
        kernel,
        padding=padding,
        precision=Precision.HIGHEST,
    )
    return output.reshape(*lead, *output.shape[1:])


def convolve(
    image: Float[Array, "*batch_and_grid in_features"],
    kernel: Float[Array, "*window in_features out_features"],
    *,
    padding: str = "SAME",
) -> Float[Array, "*batch_and_out_grid out_features"]:
    r"""Convolution of images with a kernel: `correlate` with the kernel turned by 180 degrees.

    Formula: $(k * f)(x)_o = \sum_y \sum_i f(y)_i\, k(x - y)_{io}$. It obeys the same law under
    symmetries of the grid as `correlate`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax_frames.correlation import convolve
      >>> impulse = jnp.zeros((3, 3, 1)).at[1, 1].set(1)
      >>> kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
      >>> bool(jnp.array_equal(convolve(impulse, kernel), kernel[..., 0]))
      True

    Args:
      image: as in `correlate`.
      kernel: as in `correlate`.
      padding: as in `correlate`.

    Returns:
      The convolution, one map per output feature.

    Raises:
      ValueError: as `correlate`.
    """
    dim = _check(image, kernel, padding)
    return correlate(image, jnp.flip(kernel, tuple(range(dim))), padding=padding)


def _check(image: Array, kernel: Array, padding: str) -> int:
    """The number of dimensions of the grid, 2 or 3."""
    dim = 3 if getattr(kernel, "ndim", None) == 5 else 2
    axes, window = ("depth", "height", "width")[-dim:], ("slices", "rows", "columns")[-dim:]
    if getattr(image, "ndim", 0) < dim + 1 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image must be a floating array of shape (..., {', '.join(axes)}, features), got "
            f"{describe(image)}"
        )
    if getattr(kernel, "ndim", None) != dim + 2 or kernel.shape[dim] != image.shape[-1]:
        raise ValueError(
            f"kernel must have shape ({', '.join(window)}, {image.shape[-1]}, out_features) for images "
            f"of {image.shape[-1]} features, got {describe(kernel)}"
        )
    if kernel.dtype != image.dtype:
        raise ValueError(
            f"kernel must have the dtype of the image, {image.dtype}, got {kernel.dtype}"
        )
    if padding not in ("SAME", "VALID"):
        raise ValueError(f'padding must be "SAME" or "VALID", got {padding!r}')
    grid = image.shape[-dim - 1 : -1]
    if padding == "VALID" and any(
        side > length for side, length in zip(kernel.shape[:dim], grid, strict=True)
    ):
        raise ValueError(
            f"kernel must fit into the image for VALID padding, got {kernel.shape[:dim]} pixels for "
            f"{grid}"
        )
    return dim
