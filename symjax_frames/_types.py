"""The records of the library: an action and a frame. The group elements are in `elements`.

Axis names used in every signature of the library:

* `points`: points of one cloud; `dim`: coordinates of a point (1, 2, 3, ...)
* `frame`: elements of a frame; `order`: elements of a finite group
* `nodes`, `edges`: nodes and edges of a graph, or of a packed batch of graphs
* `graphs`: graphs of a packed batch
* `channels`, `features`: features of a point, a node or an edge

Clouds are rows: an element acts on a `(points, dim)` array as `x @ linear.T + shift`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, PyTree


def _multiply(weight: Float[Array, ""], value: Array) -> Array:
    """The data times the weight."""
    return weight * value


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Action:
    """How group elements move one kind of data.

    A pytree without leaves, so it passes through `jax.jit` and `jax.vmap`. `help` of an action shows
    the docstring of its `push`.

    Attributes:
      push: `(g, x) -> rho(g) x`.
      pull: `(g, x) -> rho(g)^-1 x`, the inverse of `push`; not verified.
      scale: `(weight, x) -> weight x`, how the weight of a frame element multiplies the data. The
        default serves all but packed data, where every graph has weights of its own.
      name: what the action is called when it is printed, such as `"points"`.
    """

    push: Callable[[Any, Any], Any]
    pull: Callable[[Any, Any], Any]
    scale: Callable[[Array, Array], Array] = _multiply
    name: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        if getattr(self.push, "__doc__", None):
            object.__setattr__(self, "__doc__", self.push.__doc__)

    def __repr__(self) -> str:
        return f"Action({self.name or getattr(self.push, '__qualname__', repr(self.push))})"


class Frame(NamedTuple):
    """Weighted finite set of group elements that moves with its input, `F(g x) = g F(x)`.

    Attributes:
      elements: group elements, every leaf with a leading `frame` axis.
      weights: non-negative, summing to one over the `frame` axis. They may depend on the input:
        equal weights make an average jump wherever an element enters or leaves the frame. A packed
        batch of graphs has weights of shape `(frame, graphs)` and elements with leaves
        `(frame, graphs, ...)`.

    References:
      Weighted frames: Dym, Lawrence and Siegel, Equivariant Frames and the Impossibility of
      Continuous Canonicalization, ICML 2024, arXiv:2402.16077.
    """

    elements: PyTree[Array]
    weights: Float[Array, "frame *graphs"]
