"""Frames of many small clouds, and the clouds that they project to, against other libraries."""

import argparse
import functools
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import symjax_frames as sf
from experiments.benchmarks.figures.speed import time_bars
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed import torch_frames
from experiments.benchmarks.speed.counts import counts_of
from experiments.benchmarks.speed.part import Part, shown, times_of
from experiments.benchmarks.speed.peers import Peer
from experiments.benchmarks.timing import Spread, Stopwatch, spreads, stopwatch
from symjax_frames.linalg import eigh

_POINTS, _DIM = 5, 3
_PCA = "pca_frame"
_COPY = "a copy of the clouds, 8 times"
_SOLVERS: dict[str, Callable[..., Any]] = {
    "linalg.eigh": eigh,
    "jnp.linalg.eigh": jnp.linalg.eigh,
}
_PEERS = (torch_frames.LIBRARY, torch_frames.PLAIN)

Clouds = Float[Array, "clouds points dim"]


def measure(options: argparse.Namespace) -> Part:
    """Times frames with the projection of the cloud to all elements, and the eigenproblem alone."""
    count = options.clouds
    compiled = _projections(count)
    clouds = _clouds(count)
    watches: dict[str, Stopwatch] = {
        name: stopwatch(functools.partial(program, clouds), options.clock)
        for name, program in compiled.items()
    }
    numpy = functools.partial(in_numpy, np.asarray(clouds))
    watches["numpy.linalg.eigh"] = stopwatch(numpy, options.clock)
    threads = options.threads or len(os.sched_getaffinity(0))
    arguments = ["--threads", f"{threads}", "--clock", options.clock, "--shape"]
    arguments += [f"{size}" for size in (count, _POINTS, _DIM)]
    file = Path(torch_frames.__file__)
    with Peer(options.torch_python, file, arguments) as peer:
        for name in peer.names:
            watches[name] = functools.partial(peer.seconds, name)
        times: dict[str, Spread | None] = {**spreads(watches, options.repeats)}
        versions = peer.about.get("versions", {})
    times |= {name: None for name in _PEERS if name not in times}
    eigen = _eigen_times(options)
    costs = {name: counts_of(program)._asdict() for name, program in compiled.items()}
    numbers = {
        "ms": {name: None if time is None else time._asdict() for name, time in times.items()},
        "eigh_ms": {name: time._asdict() for name, time in eigen.items()},
        "counts": costs,
        "versions": versions,
    }
    caption = (
        f"{count} clouds of {_POINTS} points in {_DIM} dimensions, float32: the frame of each, and the "
        "cloud projected to all its elements. The copy writes as many bytes as pca_frame's clouds. "
        "NumPy solves on one thread."
    )
    tables = [_table(times), _eigen_table(eigen)]

    def draw(folder: Path) -> list[Path]:
        path = folder / "speed_frames.png"
        time_bars(path, {name: time for name, time in times.items() if time is not None})
        return [path]

    return Part(caption, tables, numbers, draw)


def projection(frame: Callable[[Array], sf.Frame]) -> Callable[[Array], tuple[Array, Array]]:
    """From a cloud to the clouds that the elements of its frame project it to, and the weights."""

    def projected(cloud: Array) -> tuple[Array, Array]:
        elements, weights = frame(cloud)
        return jax.vmap(lambda element: sf.points.pull(element, cloud))(elements), weights

    return projected


def _clouds(count: int) -> Clouds:
    draw = np.random.default_rng(0).normal(size=(count, _POINTS, _DIM))
    return jnp.asarray(draw, jnp.float32)


def _projections(count: int) -> dict[str, jax.stages.Compiled]:
    clouds = _clouds(count)
    needed = sf.frame_capacity(sf.robust_frame, clouds)
    room = needed._asdict()
    robust = functools.partial(sf.robust_frame, **room)
    ids = jnp.repeat(jnp.arange(count), _POINTS)
    action = sf.packed(sf.points, ids)

    def packed(frame: Callable[..., sf.Frame], **options: Any) -> Callable[[Clouds], Any]:
        def projected(clouds: Clouds) -> tuple[Array, Array]:
            nodes = clouds.reshape(-1, _DIM)
            elements, weights = frame(nodes, ids, count, **options)
            return jax.vmap(lambda element: action.pull(element, nodes))(elements), weights

        return projected

    functions = {
        _PCA: jax.vmap(projection(sf.pca_frame)),
        "packed_pca_frame": packed(sf.packed_pca_frame),
        "canonical_frame": jax.vmap(projection(sf.canonical_frame)),
        f"robust_frame, {needed.max_elements} elements": jax.vmap(projection(robust)),
        f"packed_robust_frame, {needed.max_elements} elements": packed(
            sf.packed_robust_frame, max_points=_POINTS, **room
        ),
        "jnp.linalg.eigh": jax.vmap(projection(plain_frame)),
        _COPY: lambda clouds: jnp.broadcast_to(clouds[:, None], (count, 8, _POINTS, _DIM)),
    }
    return {name: jax.jit(function).lower(clouds).compile() for name, function in functions.items()}


def plain_frame(cloud: Array) -> sf.Frame:
    """The PCA frame as one writes it down: no care of scales, ties or the derivative."""
    centroid = jnp.mean(cloud, axis=0)
    centred = cloud - centroid[None]
    axes = jnp.linalg.eigh(centred.T @ centred)[1]
    signs = jnp.asarray(list(product((-1.0, 1.0), repeat=_DIM)), cloud.dtype)
    shift = jnp.broadcast_to(centroid[None], (len(signs), _DIM))
    linear = axes[None] * signs[:, None, :]
    return sf.Frame(sf.Isometry(linear, shift), jnp.full(len(signs), 1 / len(signs), cloud.dtype))


def in_numpy(clouds: np.ndarray) -> np.ndarray:
    """The clouds that the PCA frame projects to, in NumPy."""
    centred = clouds - clouds.mean(axis=1, keepdims=True)
    axes = np.linalg.eigh(np.swapaxes(centred, 1, 2) @ centred)[1]
    signs = np.array(list(product((-1, 1), repeat=_DIM)), clouds.dtype)
    return centred[:, None] @ (axes[:, None] * signs[:, None, :])


def _table(times: dict[str, Spread | None]) -> Table:
    rows = [
        [name, *shown(time), times_of(times[_PCA], time), times_of(times[_COPY], time)]
        for name, time in times.items()
    ]
    return Table(["frame and projection", "time", "quartiles", "pca_frame", "copy"], rows)


def _eigen_times(options: argparse.Namespace) -> dict[str, Spread]:
    watches = {}
    for dim in (2, 3):
        draw = np.random.default_rng(0).normal(size=(options.clouds, dim, dim))
        matrices = jnp.asarray(draw + np.swapaxes(draw, 1, 2), jnp.float32)
        for kind, wrap in {"value": _value, "gradient": _gradient}.items():
            for name, solve in _SOLVERS.items():
                program = jax.jit(wrap(solve)).lower(matrices).compile()
                call = functools.partial(program, matrices)
                watches[f"{dim}x{dim} {kind}, {name}"] = stopwatch(call, options.clock)
    return spreads(watches, options.repeats)


def _value(solve: Callable[..., Any]) -> Callable[..., Any]:
    return solve


def _gradient(solve: Callable[..., Any]) -> Callable[..., Any]:
    return jax.grad(lambda matrix: jnp.sum(jnp.sin(solve(matrix)[1])))


def _eigen_table(times: dict[str, Spread]) -> Table:
    rows = []
    for name, time in times.items():
        case, _, solver = name.partition(", ")
        ours = times[f"{case}, linalg.eigh"]
        rows.append([case, solver, *shown(time), times_of(ours, time)])
    return Table(["symmetric matrices", "by", "time", "quartiles", "ours"], rows)
