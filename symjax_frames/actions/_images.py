"""Actions of planar `Isometry` elements on images and on the feature maps of image networks."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from symjax_frames._checks import check_natural
from symjax_frames._matrices import apply, at_least_float32
from symjax_frames._types import Action
from symjax_frames.elements import Isometry


@functools.cache
def fields(
    channels: Action | None = None,
    *,
    channel_axes: int = 1,
    order: int = 1,
    disc: bool = False,
    rectangular: bool = False,
) -> Action:
    r"""Action on images of shape `(..., height, width, *channels)`, whose channels may move too.

    Formula: $(\rho(g) f)(p) = \rho_{channels}(g)\, f(g^{-1} p)$ with $g p = R p + t$. Pixel
    `(i, j)` is the point $p = (j - (W - 1) / 2, (H - 1) / 2 - i)$: $x$ to the right, $y$ up, the
    origin at the centre, the unit a pixel. The image is 0 outside its grid.

    Quarter turns, reflections in the axes and diagonals, and shifts by whole pixels map the grid
    onto itself and are exact, whatever the order. Any other element interpolates: order 0 takes the
    nearest pixel, order 1 is bilinear, order 3 a cubic convolution (piecewise cubic, continuously
    differentiable, exact on quadratic images). Orders 1 and 3 can be differentiated by the element
    too. At whole pixels bilinear interpolation has a kink, and the derivative is that of one side.

    Example:
      >>> import jax.numpy as jnp, numpy as np, symjax_frames as sf
      >>> image = jnp.arange(9.0).reshape(3, 3, 1)
      >>> quarter_turn = sf.Isometry(*(leaf[1] for leaf in sf.cyclic(4).cast(jnp.float32)))
      >>> bool(jnp.all(sf.images.push(quarter_turn, image) == jnp.rot90(image)))
      True
      >>> flow = sf.fields(sf.vectors)  # two channels, the x and y of a vector
      >>> masks = sf.fields(channel_axes=0, order=0)  # boolean or integer labels, no channel axis
      >>> maps = sf.fields(sf.regular(sf.cyclic(4)), channel_axes=2)  # of a group convolution

    Args:
      channels: the action on the channels at one pixel, such as `vectors`, `tensors(2)` or
        `regular(group)`; invariant by default.
      channel_axes: the number of axes behind height and width.
      order: of the interpolation: 0, 1 or 3. Only order 0 moves integers and booleans.
      disc: set pixels outside the largest centred disc, $|p| > \min(H, W) / 2$, to zero before and
        after moving, so that no rotation moves corners out of the image or into it. Pixels inside
        the disc are not faded: the identity keeps them as they are.
      rectangular: allow a height that differs from the width. A quarter turn then cuts the image,
        so this is only right for groups that keep the rectangle: half turns, `signs(2)`,
        translations.

    Returns:
      The action, the same object for the same call. Images and elements may differ in dtype:
      coordinates and sums have at least 32 bits, the result the dtype of the image.

    Raises:
      ValueError: if an option is not of its kind; when used, if the elements are not planar, or the
        image has too few axes, is no square, or is not floating for orders 1 and 3.

    References:
      Keys, Cubic convolution interpolation for digital image processing, IEEE Transactions on
      Acoustics, Speech, and Signal Processing 29, 1981.
    """
    if channels is not None and not isinstance(channels, Action):
        raise ValueError(f"channels must be an Action or None (invariant), got {channels!r}")
    channel_axes = check_natural("channel_axes", channel_axes)
    if isinstance(order, bool) or order not in _WEIGHTS:
        raise ValueError(f"order must be 0 (nearest), 1 (linear) or 3 (cubic), got {order!r}")

    def moved(g: Isometry, image: Array, inverse: bool) -> Array:
        _check(g, image, channel_axes, order, rectangular)
        flat = _flatten(image, channel_axes)
        height, width = image.shape[image.ndim - channel_axes - 2 : image.ndim - channel_axes]
        if disc:
            flat = _cut(flat, height, width)
        flat = _sample(flat, height, width, *_sources(g, height, width, inverse), order)
        if disc:
            flat = _cut(flat, height, width)
        result = flat.reshape(image.shape)
        if channels is None:
            return result
        if jnp.issubdtype(result.dtype, jnp.floating):
            g = Isometry(g.linear.astype(result.dtype), g.shift.astype(result.dtype))
        return channels.pull(g, result) if inverse else channels.push(g, result)

    def push(g: Isometry, image: Any) -> Array:
        """Moves an image and its channels on the grid, `(g.f)(p) = rho(g) f(g^-1 p)`."""
        return moved(g, jnp.asarray(image), inverse=False)

    def pull(g: Isometry, image: Any) -> Array:
        return moved(g, jnp.asarray(image), inverse=True)

    options = [] if channels is None else [channels.name or repr(channels)]
    options += [f"channel_axes={channel_axes}"] if channel_axes != 1 else []
    options += [f"order={order}"] if order != 1 else []
    options += [name for name, on in (("disc=True", disc), ("rectangular=True", rectangular)) if on]
    return Action(push, pull, name=f"fields({', '.join(options)})" if options else "images")


def _check(g: Isometry, image: Array, channel_axes: int, order: int, rectangular: bool) -> None:
    if g.linear.ndim != 2:
        raise ValueError(
            f"images are moved by one element at a time, got elements of shape {g.linear.shape}; data "
            "of a packed frame need packed(action, segment_ids), and only they do"
        )
    if g.linear.shape[-1] != 2:
        raise ValueError(
            f"images are moved by elements of the plane, such as those of cyclic(4), got elements of "
            f"{g.linear.shape[-1]} dimensions"
        )
    if image.ndim < channel_axes + 2:
        raise ValueError(
            f"images end in height, width and {channel_axes} channel axis(es) (see the option "
            f"channel_axes of fields), got shape {image.shape}"
        )
    height, width = image.shape[image.ndim - channel_axes - 2 : image.ndim - channel_axes]
    if height != width and not rectangular:
        raise ValueError(
            f"images must be square, since a quarter turn does not keep a rectangle; got height "
            f"{height} and width {width}. Pad to a square, or, for a group that keeps the rectangle, "
            "use fields(rectangular=True)"
        )
    exact = (jnp.floating,) if order else (jnp.floating, jnp.integer, jnp.bool)
    if not any(jnp.issubdtype(image.dtype, kind) for kind in exact):
        raise ValueError(
            f"images of dtype {image.dtype} cannot be interpolated with order={order}; use "
            "fields(order=0) for labels and masks, or convert them"
        )


def _flatten(image: Array, channel_axes: int) -> Shaped[Array, "images pixels channels"]:
    lead = image.ndim - channel_axes - 2
    pixels = image.shape[lead] * image.shape[lead + 1]
    return image.reshape(math.prod(image.shape[:lead]), pixels, math.prod(image.shape[lead + 2 :]))


def _points(height: int, width: int) -> np.ndarray:
    """The `(x, y)` of every pixel, row after row."""
    y, x = (height - 1) / 2 - np.arange(height), np.arange(width) - (width - 1) / 2
    return np.stack([np.tile(x, height), np.repeat(y, width)], axis=-1)


def _cut(flat: Array, height: int, width: int) -> Array:
    radius = min(height, width) / 2
    inside = np.sum(_points(height, width) ** 2, axis=-1) <= radius**2
    return jnp.where(inside[None, :, None], flat, jnp.zeros_like(flat))


def _sources(
    g: Isometry, height: int, width: int, inverse: bool
) -> tuple[Float[Array, " pixels"], Float[Array, " pixels"]]:
    """The row and column at which the image is sampled for every pixel of the moved one."""
    linear, shift = at_least_float32(g.linear), at_least_float32(g.shift)
    points = jnp.asarray(_points(height, width), linear.dtype)
    shifts = jnp.broadcast_to(shift, points.shape)
    source = apply(linear, points) + shifts if inverse else apply(linear.T, points - shifts)
    return (height - 1) / 2 - source[:, 1], source[:, 0] + (width - 1) / 2


def _sample(
    flat: Shaped[Array, "images pixels channels"],
    height: int,
    width: int,
    row: Float[Array, " pixels"],
    column: Float[Array, " pixels"],
    order: int,
) -> Shaped[Array, "images pixels channels"]:
    # One gather for each neighbour, over flat pixels: as fast on a CPU as map_coordinates of
    # jax.scipy with one channel, up to twice as fast with more, and the same code for every order.
    dtype = flat.dtype
    wide = at_least_float32(flat) if jnp.issubdtype(dtype, jnp.floating) else flat
    columns = _neighbours(column, width, order)
    total = jnp.zeros_like(wide)
    for i, vertical in _neighbours(row, height, order):
        for j, horizontal in columns:
            values = wide.at[:, i * width + j].get(mode="clip")
            total += values * (vertical * horizontal).astype(wide.dtype)[None, :, None]
    return total.astype(dtype)


def _neighbours(
    coordinate: Float[Array, " pixels"], size: int, order: int
) -> list[tuple[Int[Array, " pixels"], Float[Array, " pixels"]]]:
    """Indices and weights along one axis; the weight is zero outside the image."""
    base = jnp.floor(coordinate + 0.5 if order == 0 else coordinate)
    neighbours = []
    for step, weight in _WEIGHTS[order](coordinate - base):
        index = base + step
        inside = (index >= 0) & (index <= size - 1)
        # Clipped before it is converted: a float may exceed every integer.
        index = jnp.clip(index, 0, size - 1).astype(jnp.int32)
        neighbours.append((index, jnp.where(inside, weight, jnp.zeros_like(weight))))
    return neighbours


def _cubic(t: Array) -> list[tuple[int, Array]]:
    return [
        (-1, ((2 - t) * t - 1) * t / 2),
        (0, ((3 * t - 5) * t * t + 2) / 2),
        (1, ((4 - 3 * t) * t + 1) * t / 2),
        (2, (t - 1) * t * t / 2),
    ]


_WEIGHTS: dict[int, Callable[[Array], list[tuple[int, Array]]]] = {
    0: lambda t: [(0, jnp.ones_like(t))],
    1: lambda t: [(0, 1 - t), (1, t)],
    3: _cubic,
}

images = fields()
"""Action on images of shape `(..., height, width, channels)`, with bilinear interpolation."""
