"""The translation that brings a landmark of an image to its centre."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._checks import describe
from symjax_frames._matrices import at_least_float32
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.linalg import power_of_two


def landmark_frame(
    image: Float[Array, "height width channels"],
    *,
    landmark: Callable[[Array], Float[Array, "2"]] | None = None,
) -> Frame:
    r"""The translation from the centre of an image to its landmark, as a frame of one element.

    `frame_average` over it moves the landmark to the centre, applies the function, and moves an
    image it returns back: a classifier becomes invariant to shifts, a segmentation network
    equivariant.

    Formula: $F(f) = \{(1, \ell(f))\}$, equivariant if the landmark moves with the image,
    $\ell(f(\cdot - s)) = \ell(f) + s$.

    Exact, up to rounding, for shifts $s$ of whole pixels that keep what is not zero within the
    image. This holds for landmarks between pixels too: then the image is interpolated, but the
    fraction of a pixel, and so the interpolated image, is the same before and after the shift.
    An output image is interpolated once more when it is moved back, and exact where its source lies
    within the image.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> corner = lambda image: image[2, 2, 0]
      >>> moves = dict(in_actions=sf.images, out_actions=None)
      >>> centred = jax.jit(sf.frame_average(corner, sf.landmark_frame, **moves))
      >>> image = jnp.zeros((5, 5, 1)).at[1, 3, 0].set(7.0)
      >>> float(corner(image)), float(centred(image))
      (0.0, 7.0)

    Args:
      image: one image; use `jax.vmap` for a batch.
      landmark: the map from an image to the `(x, y)` of its landmark in pixels, x to the right and
        y up, the origin at the centre of the image; `centre_of_mass` by default.

    Returns:
      The frame, of at least 32 bits. Images that are no square are moved by
      `fields(rectangular=True)`.

    Raises:
      ValueError: if the image is no floating array of three axes, or the landmark no function, or
        no vector of two numbers.
    """
    _check_image(image)
    if landmark is not None and not callable(landmark):
        raise ValueError(
            "landmark must be a function of the image, or None for the centre of mass, got "
            f"{describe(landmark)}"
        )
    location = (centre_of_mass if landmark is None else landmark)(image)
    if getattr(location, "shape", None) != (2,) or not jnp.issubdtype(location.dtype, jnp.floating):
        raise ValueError(
            "landmark must return a floating vector of two numbers, the x and y of one landmark; got "
            f"{describe(location)}"
        )
    shift = at_least_float32(location)[None]
    return Frame(Isometry(jnp.eye(2, dtype=shift.dtype)[None], shift), jnp.ones(1, shift.dtype))


def centre_of_mass(image: Float[Array, "height width channels"]) -> Float[Array, "2"]:
    r"""The mean position of an image's pixels, weighted by their intensity.

    Formula: $\sum_p m(p)\, p\, /\, \sum_p m(p)$ with $m(p)$ the sum of $|f(p)|$ over the channels.

    Args:
      image: one image, of intensities of any size; use `jax.vmap` for a batch.

    Returns:
      The `(x, y)` in pixels, x to the right and y up, the origin at the centre of the image, of at
      least 32 bits; the centre, with a finite gradient, for an image that is zero.

    Raises:
      ValueError: if the image is no floating array of three axes.
    """
    _check_image(image)
    image = at_least_float32(image)
    height, width, _ = image.shape
    # The quotient does not depend on the scale of the intensities, and their sum could overflow.
    mass = jnp.sum(jnp.abs(image / power_of_two(jnp.max(jnp.abs(image), initial=0))), axis=-1)
    x = jnp.arange(width, dtype=mass.dtype) - (width - 1) / 2
    y = (height - 1) / 2 - jnp.arange(height, dtype=mass.dtype)
    total = jnp.sum(mass)
    moments = jnp.stack([jnp.sum(mass * x[None, :]), jnp.sum(mass * y[:, None])])
    return moments / jnp.where(total > 0, total, jnp.ones_like(total))


def _check_image(image: Array) -> None:
    if getattr(image, "ndim", None) != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            "image must be one floating image of shape (height, width, channels), got "
            f"{describe(image)}; use jax.vmap for a batch"
        )
