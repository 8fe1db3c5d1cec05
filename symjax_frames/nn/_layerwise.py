"""A graph network averaged layer by layer, each layer over a frame of its own features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from symjax_frames._checks import check_callable, check_natural, check_positive
from symjax_frames._types import Frame
from symjax_frames.actions import vectors
from symjax_frames.frames import pca_frame
from symjax_frames.groups import signs
from symjax_frames.nn._checks import check_length
from symjax_frames.nn._graph import CompleteGraph, OtherNodes, without_diagonal, without_padding
from symjax_frames.nn._message import MessagePassing
from symjax_frames.nn._motion import EXACT, Motion
from symjax_frames.nn._sign_average import sign_average
from symjax_frames.transforms import frame_average


def _without_rounding(
    arms: Float[Array, "nodes dim"], points: Float[Array, "nodes dim"]
) -> Float[Array, "nodes dim"]:
    """The arms from the centroid to the points, zero where all points are at one place.

    Arms are rounding errors then, which have a direction of their own, and no frame can tell them
    from a small cloud. They are a few roundings of a coordinate: that of a point and those of the sum
    which makes the centroid.
    """
    longest, far = (jnp.max(jnp.abs(jax.lax.stop_gradient(x)), initial=0) for x in (arms, points))
    return jnp.where(longest > 8 * jnp.finfo(points.dtype).eps * far, arms, 0)


class _Layer(nnx.Module):
    """Message passing on vectors read as plain numbers: as unconstrained as a layer can be."""

    def __init__(
        self, channels: int, dim: int, invariants: tuple[int, int], hidden: int, rngs: nnx.Rngs
    ):
        node_features, edge_features = invariants
        self.exchange = MessagePassing(
            channels * dim + node_features, edge_features, hidden, rngs=rngs
        )
        self.norm = nnx.LayerNorm(channels * dim + node_features, rngs=rngs)

    def __call__(
        self,
        features: Float[Array, "nodes channels dim"],
        nodes: Float[Array, "nodes node_features"],
        edges: Float[Array, "*edges edge_features"],
        graph: CompleteGraph | OtherNodes,
    ) -> Float[Array, "nodes channels dim"]:
        count, channels, dim = features.shape
        flat = jnp.concatenate([features.reshape(count, -1), nodes], axis=-1)
        change, _ = self.exchange(self.norm(flat), edges, graph)
        return features + change[:, : channels * dim].reshape(features.shape)


class LayerwiseGNN(nnx.Module):
    r"""Graph network with averaged layers, $h \leftarrow \langle layer \rangle_{F(h)}(h)$.

    Node features are `channels` vectors, mixed at first from the centred point and the velocity.
    Each layer is an unconstrained function of their coordinates, made equivariant by
    `frame_average` over a frame of the features of all nodes; the output moves the points by their
    velocities and by a mixture of the last features. Layers see no distances but those given as
    edge features, as in the paper.

    With `moving`, points move from layer to layer, as those of a `PointGNN`. With $d = x_i - x_j$,
    $r = \sqrt{|d|^2 + softening^2}$, the radial velocity $u = (v_i - v_j) \cdot d / r$ and edge
    features $e$, a layer sees the invariants $[r, u, e, e / r, e u, e u / r]$ of each edge; its
    features begin with a mixture of $[x_i, v_i, \sum_j e\, d / r, \sum_j e\, d / r^2]$ added; and
    they move $v_i \leftarrow v_i + A h_i$, $x_i \leftarrow x_i + v_i / layers + B h_i$. So
    interactions that depend on distances, such as forces between charges, need not be learnt from
    those at the start.

    Args:
      dim: the number of axes of a point.
      node_features: the number of invariant features of a node, may be 0.
      edge_features: the number of invariant features of an edge, may be 0.
      channels: the number of vectors of a node, `channels * dim` features.
      hidden: the width of messages.
      layers: the number of layers.
      group: `"E"` or `"SE"`.
      frame: the frame of the features, called with `nodes * channels` vectors, their mask and
        `group="O"` or `"SO"`: `pca_frame`, `robust_frame`, or a `functools.partial` of one, such as
        `functools.partial(robust_frame, max_elements=16)`. Over `pca_frame` itself the average is
        computed in closed form, for fewer products, to rounding as over any other function.
      moving: whether each layer sees the points where the layers before have moved them.
      softening: with `moving`, the length below which distances do not shrink further, positive.
      rngs: where the parameters are drawn from.

    Raises:
      ValueError: if a size is out of range, `group` is neither of the two, or `frame` is no
        function; when called, if a shape does not fit the graph, or the graph is no
        `CompleteGraph`.

    Note:
      Over PCA frames, equivariance holds where the nonzero eigenvalues of the covariance of each
      layer's features are distinct. Features in a plane or on a line do no harm: the average over
      the signs of the frame removes all components that leave it. `spectral_gap` measures how far
      eigenvalues are from being equal; for molecules such as methane at rest some are. Over robust
      frames equivariance always holds. The output has no derivative where all points and velocities
      are on one line: gradients are finite there, and no more. Where points at rest fall into one
      place the output over robust frames has no limit either, unless they are `moving`; of clouds
      as small as the rounding of their coordinates it is rounding.

    References:
      Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022,
      arXiv:2110.03336.
    """

    def __init__(
        self,
        dim: int,
        node_features: int,
        edge_features: int,
        *,
        channels: int = 20,
        hidden: int = 60,
        layers: int = 4,
        group: str = "E",
        frame: Callable[..., Frame] = pca_frame,
        moving: bool = False,
        softening: float = 0.01,
        rngs: nnx.Rngs,
    ):
        check_positive("dim", dim)
        check_natural("node_features", node_features)
        check_natural("edge_features", edge_features)
        for name, size in (("channels", channels), ("hidden", hidden), ("layers", layers)):
            check_positive(name, size)
        if group not in ("E", "SE"):
            raise ValueError(f"group must be 'E' or 'SE', got {group!r}")
        check_callable("frame", frame)
        check_length("softening", softening)
        invariants = (node_features, Motion.invariants(edge_features) if moving else edge_features)
        self.sizes = (dim, node_features, edge_features)
        self.lift = nnx.Linear(2, channels, **EXACT, rngs=rngs)
        self.layers = nnx.List(
            [_Layer(channels, dim, invariants, hidden, rngs) for _ in range(layers)]
        )
        if moving:
            self.motions = nnx.List(
                [Motion(channels, edge_features, softening, rngs=rngs) for _ in range(layers)]
            )
        else:
            self.lower = nnx.Linear(channels, 1, **EXACT, rngs=rngs)
        self.moving = moving
        # Features are differences of points: translations are gone, rotations are left to average.
        self.group = "O" if group == "E" else "SO"
        self.frame = frame

    def __call__(
        self,
        points: Float[Array, "nodes dim"],
        velocities: Float[Array, "nodes dim"],
        nodes: Float[Array, "nodes node_features"],
        edges: Float[Array, "nodes nodes edge_features"],
        graph: CompleteGraph,
    ) -> Float[Array, "nodes dim"]:
        """The moved points, zero where the graph has padding."""
        if not isinstance(graph, CompleteGraph):
            raise ValueError(
                f"graph must be one CompleteGraph, whose frame is shared, got {type(graph).__name__}"
            )
        points, velocities, nodes, edges = without_padding(
            graph, self.sizes, points, velocities, nodes, edges
        )
        real = graph.mask[:, None]
        count = jnp.maximum(jnp.sum(graph.mask.astype(points.dtype)), 1)
        centroid = jnp.sum(points / count, axis=0, keepdims=True)
        centred = _without_rounding(jnp.where(real, points - centroid, 0), points)
        features = jnp.swapaxes(self.lift(jnp.stack([centred, velocities], axis=-1)), 1, 2)
        # Where all nodes rest at one place nothing has a direction, but averages have rounding errors.
        directed = real & jnp.any(features != 0)
        others, edges = OtherNodes(graph.mask), without_diagonal(edges)
        if self.moving:
            moved = self._moved(centred, velocities, features, nodes, edges, others)
            return jnp.where(real, centroid + jnp.where(directed, moved, 0), 0)
        for layer in self.layers:
            features = self._average(layer, features, nodes, edges, others)
        change = self.lower(jnp.swapaxes(features, 1, 2))[..., 0]
        return jnp.where(real, points + velocities + jnp.where(directed, change, 0), 0)

    def _moved(
        self,
        points: Float[Array, "nodes dim"],
        velocities: Float[Array, "nodes dim"],
        features: Float[Array, "nodes channels dim"],
        nodes: Float[Array, "nodes node_features"],
        edges: Float[Array, "others nodes edge_features"],
        graph: OtherNodes,
    ) -> Float[Array, "nodes dim"]:
        """The centred points after all layers, each of which moves them."""
        for layer, motion in zip(self.layers, self.motions, strict=True):
            invariants, mixed = motion.seen(points, velocities, edges, graph)
            features = self._average(layer, features + mixed, nodes, invariants, graph)
            points, velocities = motion.moved(points, velocities, features, 1 / len(self.layers))
        return points

    def _average(
        self, layer: _Layer, features: Array, nodes: Array, edges: Array, graph: OtherNodes
    ) -> Float[Array, "nodes channels dim"]:
        """One layer, averaged over a frame of the features."""
        if self.frame is pca_frame:
            dim = features.shape[-1]
            axes = self._feature_frame(features, graph.mask).elements.linear[0]
            # The elements are all signs of the first, whatever signs it has.
            elements = signs(dim, proper=self.group == "SO").cast(features.dtype)
            factors = jnp.diagonal(elements.linear, axis1=1, axis2=2)
            change = sign_average(
                layer.norm, layer.exchange, axes, factors, features, nodes, edges, graph
            )
            return features + change
        averaged = frame_average(
            lambda h, mask: layer(h, nodes, edges, OtherNodes(mask)),
            self._feature_frame,
            in_actions=(vectors, None),
            out_actions=vectors,
            frame_argnums=(0, 1),
        )
        return averaged(features, graph.mask)

    def _feature_frame(
        self, features: Float[Array, "nodes channels dim"], mask: Bool[Array, " nodes"]
    ) -> Frame:
        _, channels, dim = features.shape
        cloud = features.reshape(-1, dim)
        return self.frame(cloud, jnp.repeat(mask, channels), group=self.group)
