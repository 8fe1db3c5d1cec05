"""A call of every public function of the library on a batch, small enough to compile all of them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import symjax_frames as sf
from symjax_frames import correlation, frames, linalg, nn, testing

BATCH = 4

UNCALLED = {
    "records and types": (
        *("Action", "Frame", "Group", "Isometry", "Audit", "CloudAudit", "FrameCapacity"),
        *("FrameDiagnostics", "JointCloud", "LocalDiagnostics", "QuadratureRule", "GroupName"),
        *("ScoredKind", "Averaged", "CompleteGraph", "EdgeList"),
    ),
    "made before there is data, of numbers that Python knows": (
        *("check_group", "degree_of", "dihedral", "finite_group", "from_generators", "hard_clouds"),
        *("harmonic_basis", "icosahedral", "kernel_basis", "packed_group", "permutations"),
        *("pixel_basis", "quotient_table", "right_cosets", "signed_permutations", "tetrahedral"),
    ),
    "not within jit": ("assert_audit", "assert_equivariant", "audit", "frame_capacity"),
}
"""Public names that are in no call, by the reason."""


class Call(NamedTuple):
    """A function of a batch, and the arguments whose leading axis is the batch."""

    function: Callable[..., Any]
    args: tuple


def calls() -> dict[str, Call]:
    """The calls, by the names of the public functions that each is of."""
    numbers = np.random.default_rng(0)

    def draw(*shape: int, dtype: Any = np.float64) -> np.ndarray:
        return numbers.normal(size=(BATCH, *shape)).astype(dtype)

    def each(value: np.ndarray) -> np.ndarray:
        return np.broadcast_to(value, (BATCH, *value.shape)).copy()

    def one(function: Callable[..., Any], *args: Any) -> Call:
        """Of a function of one example."""
        return Call(jax.vmap(function), args)

    single = functools.partial(draw, dtype=np.float32)
    keys = jax.random.split(jax.random.key(0), BATCH)
    cloud, plane, image, voxels = draw(5, 3), draw(4, 2), single(4, 4, 2), draw(3, 3, 3, 1)
    mask = np.arange(5)[None] < np.array([5, 4, 5, 3])[:, None]
    edges = [each(ends) for ends in np.nonzero(~np.eye(5, dtype=bool))]
    segments = each(np.array([0, 0, 0, 1, 1]))
    maps, kernel = single(4, 4, 4, 2), jnp.asarray(single(3, 3, 2, 2)[0])
    c4, moves = sf.cyclic(4), {"in_actions": sf.points, "out_actions": None}
    turns = {"in_actions": sf.vectors, "out_actions": None}
    tight = {"max_elements": 2, "capacity": (1, 1)}
    robust = functools.partial(sf.robust_frame, **tight)
    around = functools.partial(sf.local_frames, cutoff=4.0, max_neighbours=2, **tight)

    def element(key: jax.Array, dim: int = 3, dtype: Any = jnp.float32) -> sf.Isometry:
        return sf.euclidean(dim).draw(key, dtype)

    def energy(points: jax.Array) -> jax.Array:
        return jnp.sum(jnp.tanh(points + jnp.arange(3.0, dtype=points.dtype)[None]))

    def both(action: sf.Action, draw: Callable) -> Callable:
        return lambda key, x: action.push(draw(key), action.pull(draw(key), x) ** 2)

    def transport(x: jax.Array, senders: jax.Array, receivers: jax.Array) -> jax.Array:
        frame = around(x, senders, receivers)
        return frames.transport(jnp.stack([x, x * x]), frame, senders, receivers, sf.vectors)

    def packed(x: jax.Array, segments: jax.Array) -> jax.Array:
        frame = lambda x: sf.packed_pca_frame(x, segments, 2)
        rows = sf.packed(sf.points, segments)
        law = {"in_actions": rows, "out_actions": sf.packed(sf.points, segments)}
        return sf.frame_average(jnp.sin, frame, **law)(x)

    def error(key: jax.Array, x: jax.Array) -> jax.Array:
        law = {"group": sf.orthogonal(3), "num_samples": 2, "key": key}
        return testing.equivariance_error(jnp.sin, x, in_actions=sf.vectors, out_actions=None, **law)

    rngs = nnx.Rngs(0)
    sizes = {"hidden": 2, "layers": 1, "rngs": rngs}
    graph = (single(5, 3), single(5, 3), single(5, 1), single(5, 5, 1), mask)
    sparse = (*graph[:3], single(20, 1), *edges, mask)
    gnn, egnn = nn.PointGNN(3, 1, 1, **sizes), nn.EGNN(1, 1, **sizes)
    layerwise = nn.LayerwiseGNN(3, 1, 1, channels=2, **sizes)
    exchange = nn.MessagePassing(1, 1, 2, rngs=rngs)
    c2 = sf.cyclic(2)
    convs = nn.GroupCNN(c2, 2, [[1], [1]], rngs=rngs)
    averaged = nn.averaged(nnx.Linear(3, 1, rngs=rngs), sf.pca_frame, **moves)

    def on_graph(net: Callable) -> Callable:
        return lambda *args: net(*args[:-1], nn.CompleteGraph(args[-1]))

    def on_edges(*args: jax.Array) -> jax.Array:
        return gnn(*args[:4], nn.EdgeList(*args[4:]))

    return {
        "pca_frame spectral_gap": one(lambda x, m: (sf.pca_frame(x, m, group="SE"), sf.spectral_gap(x)), cloud, mask),
        "robust_frame": one(lambda x, m: sf.robust_frame(x, m, attributes=x[:, 0], **tight), cloud, mask),
        "canonical_frame canonical_margin": one(
            lambda x: (frames.canonical_margin(x, group="SE"), sf.canonical_frame(x, sharpness=3.0)), cloud
        ),
        "frame_diagnostics": one(functools.partial(sf.frame_diagnostics, robust), cloud),
        "close signs": one(sf.close(sf.canonical_frame, sf.signs(2)), plane),
        "joint_cloud": one(frames.joint_cloud, cloud, draw(5, 3), mask),
        "landmark_frame centre_of_mass": one(sf.landmark_frame, image),
        "local_frames": one(around, cloud, *edges),
        "local_diagnostics": one(functools.partial(frames.local_diagnostics, cutoff=4.0), cloud[:, :3], *(e[:, :2] % 3 for e in edges)),
        "transport": one(transport, cloud, *edges),
        "packed packed_pca_frame": one(packed, cloud, segments),
        "scored_frame": one(lambda s: [sf.scored_frame(s, c4, capacity=2), sf.scored_frame(s, c4, kind="soft")], draw(4)),
        "prior_loss": Call(frames.prior_loss, (draw(4),)),
        "identity_rate": Call(lambda s: frames.identity_rate(s)[None] * jnp.ones_like(s), (draw(4),)),
        "points euclidean": one(both(sf.points, element), keys, single(4, 3)),
        "pseudovectors": one(both(sf.pseudovectors, element), keys, single(4, 3)),
        "vectors tensors special_euclidean": one(both(sf.tensors(2), lambda key: sf.special_euclidean(2).draw(key, jnp.float32)), keys, single(2, 2)),
        "images": one(both(sf.images, lambda key: element(key, 2)), keys, image),
        "fields regular cyclic": one(both(sf.fields(sf.regular(c4), channel_axes=2, order=0), lambda key: c4.draw(key, jnp.float32)), keys, maps),
        "voxels octahedral": one(lambda key, x: sf.voxels.push(sf.octahedral().draw(key, jnp.float64), x), keys, voxels),
        "translation": one(lambda key: sf.translation(3).draw(key, jnp.float32), keys),
        "frame_average": one(jax.value_and_grad(sf.frame_average(energy, sf.pca_frame, **moves)), cloud),
        "frame_average in batches": one(sf.frame_average(energy, sf.pca_frame, batch_size=3, **moves), cloud),
        "group_average quadrature orthogonal": one(sf.group_average(energy, sf.quadrature(sf.orthogonal(3), 1), **turns), cloud),
        "group_average of images": Call(sf.group_average(convs, c4, already=c2, in_actions=sf.images, out_actions=None), (image,)),
        "sampled_average special_orthogonal": one(sf.sampled_average(energy, sf.special_orthogonal(3), **turns), keys, cloud),
        "sampled_average": one(lambda key, x: jax.grad(sf.sampled_average(energy, sf.canonical_frame, **moves), 1)(key, x), keys, cloud),
        "eigh": one(lambda x: linalg.eigh(x.T @ x), draw(4, 4)),
        "safe_norm safe_normalize power_of_two": Call(lambda x: [linalg.safe_norm(x), linalg.safe_normalize(x), linalg.power_of_two(x)], (cloud,)),
        "correlate convolve kernels": Call(lambda x: correlation.convolve(x, kernel), (single(2, 4, 4, 2),)),
        "lift": Call(lambda x: correlation.lift(x, kernel, c2), (image,)),
        "group_correlate": Call(lambda x: correlation.group_correlate(x, jnp.stack([kernel] * 2), c2), (single(4, 4, 2, 2),)),
        "average_kernel": one(lambda k: correlation.average_kernel(k, c2), single(3, 3, 1, 1)),
        "kernels_3d": one(lambda key, k: correlation.kernels_3d.push(sf.octahedral().draw(key, jnp.float32), k), keys, single(2, 2, 2, 1, 1)),
        "averaged": one(averaged, single(4, 3)),
        "MLP": Call(nn.MLP([3, 2, 1], rngs=rngs), (single(4, 3),)),
        "PointGNN": one(on_graph(gnn), *graph),
        "PointGNN of edges": one(on_edges, *sparse),
        "EGNN": one(on_graph(egnn), *graph),
        "LayerwiseGNN": one(on_graph(layerwise), *graph),
        "MessagePassing": one(on_graph(exchange), *graph[2:]),
        "GroupCNN LiftingConv GroupConv RegularNorm SpacePool": Call(convs, (image,)),
        "GroupPool": Call(nn.GroupPool(c4, "max", over=c2), (maps,)),
        "generic_cloud": one(lambda key: testing.generic_cloud(key, 4, 2), keys),
        "equivariance_error": one(error, keys, single(2, 3)),
    }
