"""Errors of the identities of correlation against the angle, for angles on and off the grid.

Run with `python -m experiments benchmark identities --out DIR`.
"""

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.figures.identities import identity_errors
from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.report import Table, print_caption, print_paths, print_tables
from symjax_frames.correlation import correlate, harmonic_basis

Turn = Callable[[sf.Group], Float[Array, "order size size 1 kernels"]]
"""Kernels moved by every element of a group."""

_WIDTHS = (0.125, 0.25, 0.5)
"""Band-widths of the images, in units of the highest frequency that pixels hold."""
_KERNELS = 4
_images = sf.fields(order=3)
"""Images turn by cubic convolution in all measurements: only the kernels differ."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, and draws the figure if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    errors, kernels = measure(options)
    console = Console()
    print_caption(
        console,
        f"Relative errors, float32: {options.images} images of {options.size} x {options.size} pixels "
        f"a band-width, kernels of {options.kernel} x {options.kernel}; medians off the grid",
    )
    names = [
        "identity",
        "kernel",
        "on the grid",
        *(f"off it, width {width:g}" for width in _WIDTHS),
    ]
    print_tables(console, Table(names, _rows(errors, kernels)))
    if options.out is not None:
        path = options.out / "identities.png"
        identity_errors(path, errors, kernels, _WIDTHS)
        print_paths(console, [path])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_out(parser, "the figure")
    parser.add_argument("--size", type=positive, default=41, help="pixels along an image")
    parser.add_argument("--kernel", type=positive, default=5, help="pixels along a kernel, odd")
    parser.add_argument("--images", type=positive, default=4, help="images of each band-width")
    parser.add_argument("--steps", type=positive, default=18, help="angles in a quarter turn")
    parser.add_argument("--seed", type=int, default=0, help="draws the images and kernels")
    return parser


def measure(
    options: argparse.Namespace,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Measures every identity.

    Args:
      options: the parsed command line.

    Returns:
      For every identity the angles in degrees and the errors, of shape
      `(kernels, widths, angles)`, and the names of the kernels.
    """
    generator = np.random.default_rng(options.seed)
    image = _band_limited(generator, options)
    circle = sf.cyclic(4 * options.steps)
    treatments = _treatments(generator, options.kernel)
    angles = 90 * np.arange(options.steps + 1) / options.steps
    # The averages run over the subgroups whose smallest rotation lies in the quarter turn.
    orders = [n for n in range(4 * options.steps, 3, -1) if circle.order % n == 0]  # type: ignore[operator]
    measured: dict[str, tuple[np.ndarray, list]] = {
        "kernel rotation": (angles, []),
        "lifting": (angles, []),
        "group average": (360 / np.array(orders), []),
    }
    for turn in treatments.values():
        moved = turn(circle)
        elements = jax.tree.map(lambda leaf: leaf[: options.steps + 1], circle.cast(image.dtype))
        measured["kernel rotation"][1].append(_rotation(image, moved, elements))
        measured["lifting"][1].append(_lifting(image, moved, elements, circle))
        averages = [_average(image, turn(sf.cyclic(n)), sf.cyclic(n)) for n in orders]
        measured["group average"][1].append(jnp.stack(averages, axis=-1))
    errors = {name: (angles, np.asarray(rows)) for name, (angles, rows) in measured.items()}
    return errors, list(treatments)


def _band_limited(
    generator: np.random.Generator, options: argparse.Namespace
) -> Float[Array, "widths images size size 1"]:
    """White noise cut off at each band-width, under a window that keeps it inside the disc."""
    size, count = options.size, options.images
    noise = np.fft.fft2(generator.normal(size=(count, size, size)))
    frequency = 2 * np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    axis = np.arange(size) - (size - 1) / 2
    # Neither a turned image nor the response to it may reach the border.
    radius = (size - options.kernel) / 2
    distance = np.minimum(np.hypot(*np.meshgrid(axis, axis)) / max(radius, 1), 1)
    window = np.cos(np.pi / 2 * distance) ** 2
    waves = [np.fft.ifft2(noise * (frequency <= width)).real for width in _WIDTHS]
    return jnp.asarray(window * np.stack(waves), jnp.float32)[..., None]


def _treatments(generator: np.random.Generator, size: int) -> dict[str, Turn]:
    """The ways to turn a kernel: its pixels by interpolation, or the functions it samples."""
    count = harmonic_basis(sf.cyclic(1), size).shape[-1]
    weights = generator.normal(size=(count, 1, _KERNELS))
    pixels = jnp.asarray(generator.normal(size=(size, size, 1, _KERNELS)), jnp.float32)

    def interpolated(order: int) -> Turn:
        push = jax.jit(jax.vmap(sf.fields(channel_axes=2, order=order).push, in_axes=(0, None)))
        return lambda group: push(group.cast(pixels.dtype), pixels)

    def sampled(group: sf.Group) -> Array:
        basis = harmonic_basis(group, size)
        return jnp.asarray(np.einsum("gijb,bcd->gijcd", basis, weights), jnp.float32)

    return {
        "pixels, bilinear": interpolated(1),
        "pixels, cubic": interpolated(3),
        "harmonics": sampled,
    }


def _relative(value: Array, reference: Array) -> Float[Array, " widths"]:
    """The norm of the difference relative to that of the reference, for each band-width."""
    axes = tuple(range(1, value.ndim))
    difference = jnp.sum((value - reference) ** 2, axis=axes)
    return jnp.sqrt(difference / jnp.sum(reference**2, axis=axes))


@jax.jit
def _rotation(image: Array, moved: Array, elements: sf.Isometry) -> Float[Array, "widths angles"]:
    response = correlate(image, moved[0])

    def error(pair: tuple[sf.Isometry, Array]) -> Float[Array, " widths"]:
        g, kernel = pair
        return _relative(correlate(_images.push(g, image), kernel), _images.push(g, response))

    return jax.lax.map(error, (elements, moved[: len(elements.linear)])).T


@functools.partial(jax.jit, static_argnums=3)
def _lifting(
    image: Array, moved: Array, elements: sf.Isometry, group: sf.Group
) -> Float[Array, "widths angles"]:
    maps = sf.fields(sf.regular(group), channel_axes=2, order=3)
    # As `lift`, which takes kernels that are not turned yet.
    lift = jax.vmap(correlate, in_axes=(None, 0), out_axes=-2)
    lifted = lift(image, moved)

    def error(g: sf.Isometry) -> Float[Array, " widths"]:
        return _relative(lift(_images.push(g, image), moved), maps.push(g, lifted))

    return jax.lax.map(error, elements).T


@functools.partial(jax.jit, static_argnums=2)
def _average(image: Array, moved: Array, group: sf.Group) -> Float[Array, " widths"]:
    average = sf.group_average(
        correlate, group, in_actions=(_images, None), out_actions=_images, batch_size=1
    )
    return _relative(correlate(image, jnp.mean(moved, axis=0)), average(image, moved[0]))


def _rows(
    errors: Mapping[str, tuple[np.ndarray, np.ndarray]], kernels: Sequence[str]
) -> list[list[str]]:
    rows = []
    for identity, (angles, values) in errors.items():
        grid = angles % 90 == 0
        for name, errors_of in zip(kernels, values, strict=True):
            off = np.median(errors_of[:, ~grid], axis=1)
            on = errors_of[:, grid].max()
            rows.append([identity, name, f"{on:.1e}", *(f"{error:.1e}" for error in off)])
    return rows
