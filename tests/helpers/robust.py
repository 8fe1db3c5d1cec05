"""Averages over robust frames of a generic backbone, for batches of clouds of at most nine points."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import symjax_frames as sf
from symjax_frames.testing import hard_clouds

POINTS = 9
ROWS = 64  # All clouds of a test go through one program as a batch of so many.
MOVES = {"in_actions": (sf.points, None), "frame_argnums": (0, 1)}


def backbone(dim, dtype):
    """An energy, a vector and a tensor of a masked cloud: generic, so that no symmetry hides."""
    draws = np.random.default_rng(3)
    weight, mix = (jnp.asarray(draws.normal(size=(dim, 8)) / 2, dtype) for _ in range(2))
    shift = jnp.asarray(draws.normal(size=(1, 8)), dtype)
    read = jnp.asarray(draws.normal(size=(8, 1 + dim + dim * dim)), dtype)

    def fn(x, mask):
        real = mask[:, None]
        hidden = jnp.where(real, jnp.tanh(x @ weight + shift), 0)
        # The mean, so that far points do not leave the others without influence.
        pooled = jnp.mean(hidden, axis=0, keepdims=True)
        hidden = jnp.where(real, jnp.sin(x @ mix + pooled + shift), 0)
        out = jnp.sum(hidden @ read, axis=0)
        return out[0], out[1 : 1 + dim], out[1 + dim :].reshape(dim, dim)

    return fn


def averaged(frame, dim=3, dtype="float64"):
    outputs = (None, sf.vectors, sf.tensors(2))
    return sf.frame_average(backbone(dim, dtype), frame, out_actions=outputs, **MOVES)


@functools.cache
def program(frame, options, dim, dtype):
    """Energy, vector, tensor and slope of the energy of a batch of clouds, compiled once."""
    fn = backbone(dim, dtype)
    if frame is not None:
        fn = averaged(functools.partial(frame, **dict(options)), dim, dtype)

    def outputs(x, mask):
        energy, vector, tensor = fn(x, mask)
        return energy, (vector, tensor)

    @jax.jit
    @jax.vmap
    def run(x, mask):
        (energy, (vector, tensor)), slope = jax.value_and_grad(outputs, has_aux=True)(x, mask)
        return energy, vector, tensor, slope

    return run


def evaluate(x, masks, frame=sf.robust_frame, **options):
    """What `program` returns for some clouds of at most nine points."""
    count, _, dim = x.shape
    assert count <= ROWS
    rows = [(0, ROWS - count), (0, POINTS - x.shape[1])]
    options = {"group": "E"} | options
    run = program(frame, tuple(sorted(options.items())), dim, str(x.dtype))
    values = run(np.pad(x, [*rows, (0, 0)]), np.pad(masks, rows))
    return [np.asarray(leaf)[:count] for leaf in values]


def of_order_one():
    """The hard clouds whose coordinates are of order one, of at most nine points."""
    clouds = hard_clouds() | {"pentagon": ring(5), "twisted": np.eye(3)[[0, 0, 1, 2]]}
    return {
        name: cloud
        for name, cloud in clouds.items()
        if len(cloud) <= POINTS and not name.startswith(("offset", "scale"))
    }


def ring(count, dim=3):
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(count)][:dim], axis=1)


def as_weighted_set(elements, weights):
    """Elements of nonzero weight in an order of their own."""
    flat = [np.reshape(leaf, (len(weights), -1)) for leaf in (*elements, weights)]
    rows = np.concatenate(flat, axis=1)[np.asarray(weights) > 0]
    return rows[np.lexsort(np.round(rows, 6).T)]


def generic_clouds():
    return np.random.default_rng(2).normal(size=(4, 5, 3))
