"""Bases of convolution kernels that a planar group moves exactly: pixels, or circular harmonics."""

import functools

import numpy as np

from symjax_frames._checks import check_positive
from symjax_frames.groups import Group, check_group

_RING_WIDTH = 0.45
"""Standard deviation of a ring, in pixels: one pixel away, a twelfth of its height is left."""


def keeps_grid(group: Group) -> bool:
    """Whether every element moves the points of a square grid to points of the grid."""
    _check_planar(group)
    matrices = np.asarray(group.elements.linear)  # type: ignore[union-attr]
    return bool(np.all(np.isin(matrices, (-1.0, 0.0, 1.0))))


@functools.cache
def pixel_basis(group: Group, size: int) -> np.ndarray:
    """The kernels with a single pixel of one, moved by every element of a group.

    Args:
      group: a finite group of the plane that keeps the grid, such as C4 or D4.
      size: the number of pixels along a side.

    Returns:
      An array of shape `(order, size, size, basis)` with `size**2` kernels: entry `[g]` holds `g.B`
      for every kernel B, an exact permutation of the pixels.

    Raises:
      ValueError: if the group is not planar and finite, or moves points off the grid.
    """
    check_positive("size", size)
    if not keeps_grid(group):
        raise ValueError(
            f"group must keep the pixels of a kernel on the grid, as C4 and D4 do, got {group.name}; "
            "harmonic_basis serves the others"
        )
    sources = np.einsum("gxy,ijx->gijy", _matrices(group), _points(size))  # g^-1 p, row vectors
    column = np.rint(sources[..., 0] + (size - 1) / 2).astype(int)
    row = np.rint((size - 1) / 2 - sources[..., 1]).astype(int)
    return _final(np.eye(size * size)[row * size + column])


@functools.cache
def harmonic_basis(group: Group, size: int) -> np.ndarray:
    r"""Circular harmonics on rings, sampled at the points that every element of a group moves.

    Formula: $B_{r,m}(p) = e^{-(|p| - r)^2 / 2 s^2} \cos(m\theta)$ and $\sin(m\theta)$, on rings one
    pixel apart out to the edge, with $m \le 2r$, and $s$ = 0.45 pixels. The functions are known
    everywhere, so `(g.B)(p) = B(g^-1 p)` is sampled and not interpolated: it is exact for every
    angle at every pixel of the kernel. But the square of pixels cuts the outermost ring off, and
    the square does not turn.

    Args:
      group: a finite group of the plane.
      size: the number of pixels along a side.

    Returns:
      An array of shape `(order, size, size, basis)`: entry `[g]` holds `g.B` for every kernel B,
      with unit norm at the identity. There are 6 kernels for size 3, 15 for 5, 28 for 7.

    Raises:
      ValueError: if the group is not planar and finite.

    References:
      Weiler et al., Learning Steerable Filters for Rotation Equivariant CNNs, CVPR 2018,
      arXiv:1711.07289.
    """
    check_positive("size", size)
    _check_planar(group)
    sources = np.einsum("gxy,ijx->gijy", _matrices(group), _points(size))
    distance = np.hypot(sources[..., 0], sources[..., 1])
    angle = np.arctan2(sources[..., 1], sources[..., 0])
    # An angle means nothing at the centre, where a smooth harmonic of m > 0 vanishes.
    centre = distance < 1e-9
    kernels = []
    for radius in np.arange((size - 1) / 2, -0.25, -1)[::-1]:
        ring = np.exp(-((distance - radius) ** 2) / (2 * _RING_WIDTH**2))
        kernels.append(ring)
        for frequency in range(1, round(2 * radius) + 1):
            for wave in (np.cos, np.sin):
                kernels.append(np.where(centre, 0, ring * wave(frequency * angle)))
    stacked = np.stack(kernels, axis=-1)
    return _final(stacked / np.linalg.norm(stacked[0], axis=(0, 1)))


def kernel_basis(group: Group, size: int) -> np.ndarray:
    """`pixel_basis` if the group keeps the grid, else `harmonic_basis`."""
    return pixel_basis(group, size) if keeps_grid(group) else harmonic_basis(group, size)


def _matrices(group: Group) -> np.ndarray:
    return np.asarray(group.elements.linear)  # type: ignore[union-attr]


def _points(size: int) -> np.ndarray:
    """The points (x, y) of the pixels of a kernel, of shape `(size, size, 2)`, y upwards."""
    axis = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(axis, -axis)
    return np.stack([x, y], axis=-1)


def _final(values: np.ndarray) -> np.ndarray:
    # Cached and shared: nobody may change it.
    values.setflags(write=False)
    return values


def _check_planar(group: Group) -> None:
    check_group("group", group)
    if group.elements is None or group.dim != 2:
        raise ValueError(
            f"group must be a finite group of the plane, such as cyclic(8) or dihedral(4), got "
            f"{group.name}"
        )
