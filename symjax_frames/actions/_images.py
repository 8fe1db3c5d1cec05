"""Actions of `Isometry` elements on images, volumes, and the feature maps of their networks."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from symjax_frames._checks import check_natural
from symjax_frames._types import Action
from symjax_frames.actions._grid import (
    AXES,
    WEIGHTS,
    flatten,
    keep_ball,
    sample,
    sources,
    unflatten,
)
from symjax_frames.elements import Isometry


@functools.cache
def fields(
    channels: Action | None = None,
    *,
    channel_axes: int = 1,
    order: int = 1,
    disc: bool = False,
    rectangular: bool = False,
    dim: int = 2,
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

    With `dim=3` images are volumes of shape `(..., depth, height, width, *channels)`. Slice $k$ is
    an image at the height $z = k - (D - 1) / 2$, so that $x$, $y$ and $z$ are right-handed. The
    elements of `octahedral()`, with and without inversion, are exact.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> image = jnp.arange(9.0).reshape(3, 3, 1)
      >>> quarter_turn = sf.Isometry(*(leaf[1] for leaf in sf.cyclic(4).cast(jnp.float32)))
      >>> bool(jnp.all(jax.jit(sf.images.push)(quarter_turn, image) == jnp.rot90(image)))
      True
      >>> flow = sf.fields(sf.vectors)  # two channels, the x and y of a vector
      >>> masks = sf.fields(channel_axes=0, order=0)  # boolean or integer labels, no channel axis
      >>> maps = sf.fields(sf.regular(sf.cyclic(4)), channel_axes=2)  # of a group convolution
      >>> forces = sf.fields(sf.vectors, dim=3)  # a vector at every voxel

    Args:
      channels: the action on the channels at one pixel, such as `vectors`, `tensors(2)` or
        `regular(group)`; invariant by default.
      channel_axes: the number of axes behind the width.
      order: of the interpolation: 0, 1 or 3. Only order 0 moves integers and booleans.
      disc: set pixels outside the largest centred disc, $|p| > \min(H, W) / 2$, or the largest
        ball, to zero before and after moving, so that no rotation moves corners out of the image or
        into it. Pixels inside are not faded: the identity keeps them as they are.
      rectangular: allow axes of different lengths. A quarter turn then cuts the image, so this is
        only right for groups that keep the rectangle or box: half turns, `signs(dim)`,
        translations.
      dim: 2 for images, 3 for volumes.

    Returns:
      The action, the same object for the same call. Images and elements may differ in dtype:
      coordinates and sums have at least 32 bits, the result the dtype of the image.

    Raises:
      ValueError: if an option is not of its kind; when used, if the elements are not of this
        dimension, or the image has too few axes, is no square or cube, or is not floating for
        orders 1 and 3.

    References:
      Keys, Cubic convolution interpolation for digital image processing, IEEE Transactions on
      Acoustics, Speech, and Signal Processing 29, 1981.
    """
    if channels is not None and not isinstance(channels, Action):
        raise ValueError(f"channels must be an Action or None (invariant), got {channels!r}")
    channel_axes = check_natural("channel_axes", channel_axes)
    if isinstance(order, bool) or order not in WEIGHTS:
        raise ValueError(f"order must be 0 (nearest), 1 (linear) or 3 (cubic), got {order!r}")
    if isinstance(dim, bool) or dim not in (2, 3):
        raise ValueError(f"dim must be 2 (images) or 3 (volumes), got {dim!r}")

    def moved(g: Isometry, image: Array, inverse: bool) -> Array:
        _check(g, image, dim, channel_axes, order, rectangular)
        lead = image.ndim - channel_axes - dim
        grid = image.shape[lead : lead + dim]
        flat = flatten(image, lead, dim)
        if disc:
            flat = keep_ball(flat, grid)
        flat = sample(flat, grid, sources(g, grid, inverse), order)
        if disc:
            flat = keep_ball(flat, grid)
        result = unflatten(flat, image.shape, lead, dim)
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
    options += [f"dim={dim}"] if dim != 2 else []
    options += [f"channel_axes={channel_axes}"] if channel_axes != 1 else []
    options += [f"order={order}"] if order != 1 else []
    options += [name for name, on in (("disc=True", disc), ("rectangular=True", rectangular)) if on]
    return Action(push, pull, name=f"fields({', '.join(options)})" if options else "images")


def _check(
    g: Isometry, image: Array, dim: int, channel_axes: int, order: int, rectangular: bool
) -> None:
    kind, shape, square, box, space, group, option = _WORDS[dim]
    axes = AXES[-dim:]
    if g.linear.ndim != 2:
        raise ValueError(
            f"{kind} are moved by one element at a time, got elements of shape {g.linear.shape}; data "
            "of a packed frame need packed(action, segment_ids), and only they do"
        )
    if g.linear.shape[-1] != dim:
        raise ValueError(
            f"{kind} are moved by elements of {space}, such as those of {group}, got elements of "
            f"{g.linear.shape[-1]} dimensions"
        )
    if image.ndim < channel_axes + dim:
        raise ValueError(
            f"{kind} end in {', '.join(axes[:-1])}, width and {channel_axes} channel axis(es) (see the "
            f"option channel_axes of fields), got shape {image.shape}"
        )
    lengths = image.shape[image.ndim - channel_axes - dim : image.ndim - channel_axes]
    if len(set(lengths)) > 1 and not rectangular:
        got = [f"{axis} {length}" for axis, length in zip(axes, lengths, strict=True)]
        raise ValueError(
            f"{kind} must be {shape}, since a quarter turn does not keep a {box}; got "
            f"{', '.join(got[:-1])} and {got[-1]}. Pad to a {square}, or, for a group "
            f"that keeps the {box}, use fields({option}rectangular=True)"
        )
    exact = (jnp.floating,) if order else (jnp.floating, jnp.integer, jnp.bool)
    if not any(jnp.issubdtype(image.dtype, dtype) for dtype in exact):
        raise ValueError(
            f"{kind} of dtype {image.dtype} cannot be interpolated with order={order}; use "
            f"fields({option}order=0) for labels and masks, or convert them"
        )


_WORDS = {
    2: ("images", "square", "square", "rectangle", "the plane", "cyclic(4)", ""),
    3: ("volumes", "cubic", "cube", "box", "space", "octahedral()", "dim=3, "),
}

images = fields()
"""Action on images of shape `(..., height, width, channels)`, with bilinear interpolation."""

voxels = fields(dim=3)
"""Action on volumes of shape `(..., depth, height, width, channels)`, with linear interpolation.

The elements of the octahedral groups permute voxels exactly. Slices along the depth are images at
rising heights z, so a turn about z turns each as `images` does.
"""
