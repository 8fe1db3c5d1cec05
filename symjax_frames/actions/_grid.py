"""The points of a grid of pixels or voxels, and the values of an image between them."""

import functools
import itertools
import math
import operator
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from symjax_frames._matrices import apply, at_least_float32
from symjax_frames._sharding import on_own_mesh, take
from symjax_frames.elements import Isometry

Grid = tuple[int, ...]
"""The lengths of the axes of a grid, in the order of the array: (depth,) height, width."""

AXES = ("depth", "height", "width")

# How x, y and z run along the array's last axis, the one before it, and the one before that.
_DIRECTIONS = (1, -1, 1)


def flatten(image: Array, lead: int, dim: int) -> Shaped[Array, "images pixels channels"]:
    """Images with one axis each for all that is before the grid, for the grid, and behind it."""
    # One axis at a time, as a batch that is split over devices asks for.
    shape = image.shape
    image = image.reshape(*shape[:lead], math.prod(shape[lead : lead + dim]), *shape[lead + dim :])
    image = image.reshape(*image.shape[: lead + 1], math.prod(shape[lead + dim :]))
    return image.reshape(math.prod(shape[:lead]), *image.shape[lead:])


def unflatten(flat: Array, shape: tuple[int, ...], lead: int, dim: int) -> Array:
    """Undoes `flatten`."""
    flat = flat.reshape(*shape[:lead], *flat.shape[1:])
    flat = flat.reshape(*shape[: lead + dim], flat.shape[-1])
    return flat.reshape(shape)


def grid_points(grid: Grid) -> np.ndarray:
    """The coordinates `(x, y)` or `(x, y, z)` of every pixel, in the order of the array."""
    axes = [
        direction * (np.arange(length) - (length - 1) / 2)
        for direction, length in zip(_DIRECTIONS, reversed(grid), strict=False)
    ]
    mesh = np.meshgrid(*reversed(axes), indexing="ij")
    return np.stack([axis.reshape(-1) for axis in reversed(mesh)], axis=-1)


def keep_ball(flat: Array, grid: Grid) -> Array:
    """The image with 0 outside the largest centred disc or ball."""
    radius = min(grid) / 2
    inside = np.sum(grid_points(grid) ** 2, axis=-1) <= radius**2
    return jnp.where(inside[None, :, None], flat, jnp.zeros_like(flat))


@on_own_mesh
def sources(g: Isometry, grid: Grid, inverse: bool) -> list[Float[Array, " pixels"]]:
    """Where along each axis the image is sampled for every pixel of the moved one."""
    linear, shift = at_least_float32(g.linear), at_least_float32(g.shift)
    points = jnp.asarray(grid_points(grid), linear.dtype)
    shifts = jnp.broadcast_to(shift, points.shape)
    source = apply(linear, points) + shifts if inverse else apply(linear.T, points - shifts)
    along = [
        (length - 1) / 2 + direction * source[:, index]
        for index, (direction, length) in enumerate(zip(_DIRECTIONS, reversed(grid), strict=False))
    ]
    return along[::-1]


def sample(
    flat: Shaped[Array, "images pixels channels"],
    grid: Grid,
    coordinates: list[Float[Array, " pixels"]],
    order: int,
) -> Shaped[Array, "images pixels channels"]:
    """The values of images at other points of their grid, by interpolation of an order."""
    # One gather for each neighbour, over flat pixels: as fast on a CPU as map_coordinates of
    # jax.scipy with one channel, up to twice as fast with more, and the same code for every order.
    dtype = flat.dtype
    wide = at_least_float32(flat) if jnp.issubdtype(dtype, jnp.floating) else flat
    strides = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    neighbours = [_neighbours(*pair, order) for pair in zip(coordinates, grid, strict=True)]
    total = jnp.zeros_like(wide)
    for corner in itertools.product(*neighbours):
        steps = [index * stride for (index, _), stride in zip(corner, strides, strict=True)]
        pixel = functools.reduce(operator.add, steps)
        weight = functools.reduce(operator.mul, (weight for _, weight in corner))
        values = take(wide, pixel, axis=1, mode="clip")
        total += values * weight.astype(wide.dtype)[None, :, None]
    return total.astype(dtype)


@on_own_mesh
def _neighbours(
    coordinate: Float[Array, " pixels"], size: int, order: int
) -> list[tuple[Int[Array, " pixels"], Float[Array, " pixels"]]]:
    """Indices and weights along one axis; the weight is zero outside the image."""
    base = jnp.floor(coordinate + 0.5 if order == 0 else coordinate)
    neighbours = []
    for step, weight in WEIGHTS[order](coordinate - base):
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


WEIGHTS: dict[int, Callable[[Array], list[tuple[int, Array]]]] = {
    0: lambda t: [(0, jnp.ones_like(t))],
    1: lambda t: [(0, 1 - t), (1, t)],
    3: _cubic,
}
