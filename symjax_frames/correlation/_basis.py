"""Bases of convolution kernels that a group moves exactly: pixels, or circular harmonics."""

import functools

import numpy as np

from symjax_frames._checks import check_positive
from symjax_frames.groups import Group, check_group

_RING_WIDTH = 0.45
"""Standard deviation of a ring, in pixels: one pixel away, a twelfth of its height is left."""


def keeps_grid(group: Group) -> bool:
    """Whether every element moves the points of a square or cubic grid to points of the grid."""
    _check_dim(group, (2, 3))
    matrices = np.asarray(group.elements.linear)  # type: ignore[union-attr]
    return bool(np.all(np.isin(matrices, (-1.0, 0.0, 1.0))))


@functools.cache
def pixel_basis(group: Group, size: int) -> np.ndarray:
    """The kernels with a single pixel of one, moved by every element of a group.

    Args:
      group: a finite group that keeps the grid: C4, D4, or, in space, the octahedral groups, and
        their subgroups.
      size: the number of pixels along a side.

    Returns:
      An array of shape `(order, size, size, basis)` with `size**2` kernels, or `(order, size, size,
      size, basis)` with `size**3`: entry `[g]` holds `g.B` for every kernel B, an exact permutation
      of the pixels.

    Raises:
      ValueError: if the group is not finite, not of two or three dimensions, or moves points off
        the grid.
    """
    check_positive("size", size)
    if not keeps_grid(group):
        raise ValueError(
            "group must keep the pixels of a kernel on the grid, as C4, D4 and the octahedral groups "
            f"do, got {group.name}; harmonic_basis serves the others of the plane"
        )
    dim, centre = group.dim, (size - 1) / 2
    sources = np.moveaxis(_sources(group, size), -1, 0)
    # x runs along the last axis, y against the one before it, z along the first of three.
    along = (centre + sources[0], centre - sources[1], *(centre + z for z in sources[2:]))
    index = sum(np.rint(axis).astype(int) * size**power for power, axis in enumerate(along))
    return _final(np.eye(size**dim)[index])


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
    _check_dim(group, (2,))
    sources = _sources(group, size)
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


def _sources(group: Group, size: int) -> np.ndarray:
    """The points `g^-1 p` of all pixels of a kernel, of shape `(order, size, ..., size, dim)`."""
    axis = np.arange(size) - (size - 1) / 2
    *z, y, x = np.meshgrid(*[axis] * (group.dim - 2), -axis, axis, indexing="ij")
    points = np.stack([x, y, *z], axis=-1)
    matrices = np.asarray(group.elements.linear)  # type: ignore[union-attr]
    return np.einsum("gxy,...x->g...y", matrices, points)


def _final(values: np.ndarray) -> np.ndarray:
    # Cached and shared: nobody may change it.
    values.setflags(write=False)
    return values


def _check_dim(group: Group, allowed: tuple[int, ...]) -> None:
    check_group("group", group)
    if group.elements is None or group.dim not in allowed:
        spaces, examples = "the plane or of space", "dihedral(4) or octahedral()"
        if allowed == (2,):
            spaces, examples = "the plane", "cyclic(8) or dihedral(4)"
        hint = "; in space, groups that keep the grid have pixel_basis" if group.dim == 3 else ""
        raise ValueError(
            f"group must be a finite group of {spaces}, such as {examples}, got {group.name}{hint}"
        )
