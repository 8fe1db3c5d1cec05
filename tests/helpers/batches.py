"""A call of every public function of the library on a batch, as small as it can be."""

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
        *("FrameOverflowWarning", "OnOverflow"),
        *("ScoredKind", "Averaged", "CompleteGraph", "EdgeList"),
    ),
    "made of numbers of Python, before there are data": (
        *("check_group", "degree_of", "dihedral", "finite_group", "from_generators", "hard_clouds"),
        *(
            "harmonic_basis",
            "icosahedral",
            "inversion",
            "kernel_basis",
            "packed_group",
            "permutations",
        ),
        *("pixel_basis", "quotient_table", "right_cosets", "signed_permutations", "tetrahedral"),
    ),
    "returns numbers of Python": (
        *("assert_audit", "assert_equivariant", "audit", "batch_capacity", "frame_capacity"),
    ),
}
"""The public names that no call is of, by the reason."""

C2, C4 = sf.cyclic(2), sf.cyclic(4)
MOVES: dict[str, Any] = {"in_actions": sf.points, "out_actions": None}
TURNS: dict[str, Any] = {"in_actions": sf.vectors, "out_actions": None}
FEW: dict[str, Any] = {"max_elements": 2, "capacity": (1,)}
NEAR: dict[str, Any] = {"cutoff": 4.0, "max_neighbours": 2, **FEW}


class Call(NamedTuple):
    """A function of a batch, and its arguments, whose leading axis is the batch."""

    function: Callable[..., Any]
    args: tuple


def one(function: Callable[..., Any], *args: Any) -> Call:
    """The call of a function of one example."""
    return Call(jax.vmap(function), args)


def draw(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """A batch of random numbers, the same for the same shape."""
    return np.random.default_rng(0).normal(size=(BATCH, *shape)).astype(dtype)


single = functools.partial(draw, dtype=np.float32)


def calls(dtype: Any = None) -> dict[str, Call]:
    """The calls, by the names of the public functions that each is of.

    Args:
      dtype: of all floating arguments and parameters, by default float64 or float32.
    """
    parameters = np.float32 if dtype is None else dtype
    table = _frames() | _moves() | _averages() | _correlations(parameters) | _networks(parameters)
    if dtype is None:
        return table
    return {name: call._replace(args=cast(call.args, dtype)) for name, call in table.items()}


def cast(tree: Any, dtype: Any) -> Any:
    """The tree with all floating leaves in another dtype."""
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if floating(leaf) else leaf, tree)


def _module(make: Callable[[nnx.Rngs], nnx.Module], dtype: Any) -> nnx.Module:
    """A network with parameters of NumPy, whose drawing would be a program for each shape."""
    definition, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    numbers = np.random.default_rng(0)
    fill = lambda leaf: jnp.asarray(numbers.normal(size=leaf.shape).astype(dtype))
    return nnx.merge(definition, jax.tree.map(fill, state))


def _edges() -> list[np.ndarray]:
    return [np.tile(ends, (BATCH, 1)) for ends in np.nonzero(~np.eye(5, dtype=bool))]


def _mask() -> np.ndarray:
    return np.arange(5)[None] < np.array([5, 4, 5, 3])[:, None]


def _frames() -> dict[str, Call]:
    robust = functools.partial(sf.robust_frame, **FEW)
    local = functools.partial(sf.local_frames, num_nodes=5, **NEAR)
    cloud, mask = draw(5, 2), _mask()

    def canonical(x):
        return frames.canonical_margin(x, group="SE"), sf.canonical_frame(x, sharpness=3.0)

    def scored(scores):
        return [
            sf.scored_frame(scores, C4, capacity=2),
            sf.scored_frame(scores, C4, kind="soft").weights,
        ]

    def transport(x, senders, receivers):
        frame = local(x[senders] - x[receivers], receivers)
        return frames.transport(jnp.stack([x, x * x]), frame, senders, receivers, sf.vectors)

    def losses(scores):
        return frames.prior_loss(scores) * frames.identity_rate(scores)

    return {
        "pca_frame spectral_gap": one(
            lambda x, mask: (sf.pca_frame(x, mask, group="SE").elements, sf.spectral_gap(x)),
            *(cloud, mask),
        ),
        "robust_frame": one(robust, cloud, mask),
        "frame_diagnostics": one(functools.partial(sf.frame_diagnostics, robust), cloud, mask),
        "canonical_frame canonical_margin": one(canonical, cloud),
        "close signs": one(sf.close(sf.canonical_frame, sf.signs(2)), cloud),
        "joint_cloud": one(frames.joint_cloud, cloud, draw(5, 2), mask),
        "landmark_frame centre_of_mass": one(
            lambda x: sf.landmark_frame(x).elements.shift, single(4, 4, 2)
        ),
        "local_frames": one(local, draw(20, 2), _edges()[1]),
        "local_diagnostics": one(
            functools.partial(frames.local_diagnostics, num_nodes=5, **NEAR),
            *(draw(20, 2), _edges()[1]),
        ),
        "transport": one(transport, cloud, *_edges()),
        "scored_frame": one(scored, draw(4)),
        "prior_loss identity_rate": Call(losses, (draw(4),)),
    }


def _moves() -> dict[str, Call]:
    keys = jax.random.split(jax.random.key(0), BATCH)
    segments = np.tile(np.array([0, 0, 0, 1, 1]), (BATCH, 1))
    lifted = sf.fields(sf.regular(C4), channel_axes=2, order=0)

    def both(action: sf.Action, group: sf.Group) -> Callable:
        """Pulled, squared, and pushed by another element."""

        def moved(key, x):
            first, second = (group.draw(one_key, x.dtype) for one_key in jax.random.split(key))
            return action.push(first, action.pull(second, x) ** 2)

        return moved

    def packed(x, segments):
        nodes = sf.packed(sf.points, segments)
        frame = lambda x: sf.packed_pca_frame(x, segments, 2)
        return sf.frame_average(jnp.sin, frame, in_actions=nodes, out_actions=nodes)(x)

    return {
        "points euclidean": one(both(sf.points, sf.euclidean(2)), keys, single(4, 2)),
        "pseudovectors orthogonal": one(
            both(sf.pseudovectors, sf.orthogonal(2)), keys, single(4, 2)
        ),
        "vectors tensors special_euclidean": one(
            both(sf.tensors(2), sf.special_euclidean(2)), keys, single(2, 2)
        ),
        "images translation": one(both(sf.images, sf.translation(2)), keys, single(4, 4, 2)),
        "fields regular cyclic": one(both(lifted, C4), keys, single(4, 4, 4, 2)),
        "voxels octahedral": one(
            lambda key, x: sf.voxels.push(sf.octahedral().draw(key, x.dtype), x),
            *(keys, single(2, 2, 2, 1)),
        ),
        "packed packed_pca_frame": one(packed, draw(5, 2), segments),
        "packed_frame packed_robust_frame": one(
            functools.partial(
                sf.packed_robust_frame, num_segments=2, max_points=3, max_elements=4, capacity=(3,)
            ),
            *(draw(5, 2), segments),
        ),
        "generic_cloud": one(lambda key: testing.generic_cloud(key, 4, 2), keys),
    }


def _averages() -> dict[str, Call]:
    keys, cloud = jax.random.split(jax.random.key(0), BATCH), draw(5, 2)

    def energy(points):
        return jnp.sum(jnp.tanh(points + jnp.arange(2.0, dtype=points.dtype)[None]))

    def error(key, x):
        law = {"group": sf.orthogonal(2), "num_samples": 2, **TURNS}
        return testing.equivariance_error(jnp.sin, x, key=key, **law)

    rule, haar = sf.quadrature(sf.orthogonal(2), 1), sf.special_orthogonal(2)
    few = functools.partial(sf.robust_frame, **FEW)
    return {
        "frame_average": one(
            jax.value_and_grad(sf.frame_average(energy, sf.pca_frame, **MOVES)), cloud
        ),
        "frame_average in batches": one(
            sf.frame_average(energy, sf.pca_frame, batch_size=3, **MOVES), cloud
        ),
        "batch_average": Call(sf.batch_average(energy, few, capacity=4, **MOVES), (cloud,)),
        "group_average quadrature": one(sf.group_average(energy, rule, **TURNS), cloud),
        "sampled_average": one(sf.sampled_average(energy, sf.pca_frame, **MOVES), keys, cloud),
        "sampled_average special_orthogonal": one(
            sf.sampled_average(energy, haar, **TURNS), keys, cloud
        ),
        "sampled_average antithetic": one(
            sf.sampled_average(energy, sf.pca_frame, num_samples=2, draws="antithetic", **MOVES),
            *(keys, cloud),
        ),
        "equivariance_error": one(error, keys, single(2, 2)),
        "eigh": one(linalg.eigh, draw(3, 3)),
        "safe_norm safe_normalize power_of_two": Call(
            lambda x: [linalg.safe_norm(x), linalg.safe_normalize(x), linalg.power_of_two(x)],
            (cloud,),
        ),
    }


def _correlations(dtype: Any) -> dict[str, Call]:
    kernel = jnp.asarray(single(3, 3, 2, 2)[0], dtype)
    turns = sf.Isometry(np.tile(np.eye(3, dtype=np.float32)[::-1], (BATCH, 1, 1)), single(3))
    pairs = jnp.stack([kernel, -kernel])
    return {
        "correlate convolve kernels": Call(
            lambda x: correlation.convolve(x, kernel), (single(2, 4, 4, 2),)
        ),
        "lift": Call(lambda x: correlation.lift(x, kernel, C2), (single(4, 4, 2),)),
        "group_correlate": Call(
            lambda x: correlation.group_correlate(x, pairs, C2), (single(4, 4, 2, 2),)
        ),
        "average_kernel": one(lambda k: correlation.average_kernel(k, C2), single(3, 3, 1, 1)),
        "kernels_3d": one(correlation.kernels_3d.push, turns, single(2, 2, 2, 1, 1)),
    }


def _networks(dtype: Any) -> dict[str, Call]:
    nodes = (single(5, 2), single(5, 2), single(5, 1))
    image, maps = single(4, 4, 2), single(4, 4, 4, 2)
    size: dict[str, Any] = {"hidden": 2, "layers": 1}
    module = functools.partial(_module, dtype=dtype)
    gnn = module(lambda rngs: nn.PointGNN(2, 1, 1, **size, rngs=rngs))
    convs = module(lambda rngs: nn.GroupCNN(C2, 2, [[1], [1]], rngs=rngs))
    linear = module(lambda rngs: nnx.Linear(2, 1, rngs=rngs))

    def dense(net: Callable) -> Call:
        function = lambda *args: net(*args[:-1], nn.CompleteGraph(args[-1]))
        return one(function, *nodes, single(5, 5, 1), _mask())

    def sparse(*args):
        return gnn(*args[:4], nn.EdgeList(*args[4:]))

    return {
        "averaged": one(nn.averaged(linear, sf.pca_frame, **MOVES), single(4, 2)),
        "MLP": Call(module(lambda rngs: nn.MLP([2, 2, 1], rngs=rngs)), (single(4, 2),)),
        "PointGNN MessagePassing": dense(gnn),
        "PointGNN of edges": one(sparse, *nodes, single(20, 1), *_edges(), _mask()),
        "EGNN": dense(module(lambda rngs: nn.EGNN(1, 1, **size, rngs=rngs))),
        "LayerwiseGNN": dense(
            module(lambda rngs: nn.LayerwiseGNN(2, 1, 1, channels=1, **size, rngs=rngs))
        ),
        "GroupCNN LiftingConv GroupConv RegularNorm SpacePool": Call(convs, (image,)),
        "group_average of a GroupCNN": Call(
            sf.group_average(convs, C4, already=C2, in_actions=sf.images, out_actions=None),
            (image,),
        ),
        "GroupPool": Call(nn.GroupPool(C4, "max", over=C2), (maps,)),
    }
