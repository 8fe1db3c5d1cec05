"""Features of nodes, given in frames of their own, as other nodes see them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from symjax_frames._checks import holds
from symjax_frames._sharding import take
from symjax_frames._types import Action, Frame
from symjax_frames.actions import packed


def transport(
    features: Float[Array, "frame nodes *features"],
    frame: Frame,
    senders: Int[Array, " edges"],
    receivers: Int[Array, " edges"],
    action: Action | None,
) -> Float[Array, "frame edges *features"]:
    r"""Moves features from the frames of senders to those of receivers.

    With $h_{jk}$ the features of node $j$ in the coordinates of its element $g_{jk}$, an edge from
    $j$ to $i$ carries, in the coordinates of element $g_{il}$,

    $$h_{il \leftarrow j} = \rho(g_{il})^{-1} \sum_k w_{jk}\, \rho(g_{jk})\, h_{jk}.$$

    With one element for each node this is $\rho(g_i^{-1} g_j)\, h_j$. With more, the elements of
    the sender are averaged by its weights, because none of them corresponds to a particular element
    of the receiver. That takes the whole frame, where an `Action` knows one element only.

    The result does not change when the whole input is moved, up to the order of the elements of a
    node. So any function may be applied to it before `transport` or an average takes it out of the
    frames.

    On a line, that is where a node and its neighbours within the cutoff lie on one, the axes of the
    node across it are arbitrary. Vectors that come from a neighbour with neighbours of its own may
    point across. Let what is made of them vanish smoothly with the extent of the neighbours of the
    receiver across its first axis, or the result depends on the arbitrary axes there.

    Features that an average has taken out of their frames need no `transport`: it is the same to
    give `features[senders]` to the next average with the action `packed(action, receivers)`.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, symjax_frames as sf
      >>> @jax.jit
      ... def layer(points, senders, receivers):
      ...     vectors = points[senders] - points[receivers]
      ...     frame = sf.local_frames(vectors, receivers, 5, 4.0, max_elements=8)
      ...     pull = jax.vmap(sf.packed(sf.vectors, jnp.arange(5)).pull, in_axes=(0, None))
      ...     hidden = jnp.sin(pull(frame.elements, points) + 1)
      ...     return sf.frames.transport(hidden, frame, senders, receivers, sf.vectors)
      >>> points = jax.random.normal(jax.random.key(0), (5, 2))
      >>> layer(points, *np.nonzero(~np.eye(5, dtype=bool))).shape
      (8, 20, 2)

    Args:
      features: of every node in each of its elements, as a function vmapped over
        `frame.elements` returns them.
      frame: a packed frame with an element set for each node, as `local_frames` makes them.
      senders: the node at which each edge starts.
      receivers: the node at which it ends.
      action: how an element moves the features of one node; `None` for invariant features.

    Returns:
      The features of the sender of every edge in each element of its receiver.

    Raises:
      ValueError: if the features do not fit the frame, or the action does not fit the features.

    References:
      Lippmann et al., Beyond Canonicalization: How Tensorial Messages Improve Equivariant Message
      Passing, ICLR 2025, arXiv:2405.15389.
    """
    shape, weights = getattr(features, "shape", ()), frame.weights
    if weights.ndim != 2 or shape[:2] != weights.shape:
        raise ValueError(
            "features must start with the axes (frame, nodes) of a packed frame, got features of "
            f"shape {shape} and weights of shape {weights.shape}"
        )
    own = packed(action, jnp.arange(weights.shape[1]))
    # Features of fewer digits than the frame are summed in its own.
    wide = weights.dtype if holds(weights.dtype, features.dtype) else features.dtype
    moved = jax.vmap(own.push)(frame.elements, features.astype(wide))
    averaged = jnp.sum(jax.vmap(own.scale)(weights.astype(wide), moved), axis=0)
    pull = jax.vmap(packed(action, receivers).pull, in_axes=(0, None), axis_size=len(weights))
    return pull(frame.elements, take(averaged, senders)).astype(features.dtype)
