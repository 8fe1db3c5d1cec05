"""Multi-layer perceptron."""

from collections.abc import Callable, Sequence

from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import check_positive
from symjax_frames.nn._activation import alone, silu

_lecun_normal = nnx.initializers.lecun_normal()


class MLP(nnx.Module):
    """Multi-layer perceptron, `x -> W_n act(... act(W_1 x + b_1) ...) + b_n` on the last axis.

    Args:
      sizes: the number of features before, between and after the linear maps; at least two.
      activation: applied between them, not after the last.
      final_init: draws the kernel of the last map; a small one starts the output near zero.
      rngs: where the parameters are drawn from.

    Raises:
      ValueError: if `sizes` has fewer than two entries or one that is not a positive integer.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[Array], Array] = silu,
        final_init: nnx.Initializer = _lecun_normal,
        rngs: nnx.Rngs,
    ):
        if len(sizes) < 2:
            raise ValueError(f"sizes must name at least the input and the output, got {sizes!r}")
        for index, size in enumerate(sizes):
            check_positive(f"sizes[{index}]", size)
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        inits = [_lecun_normal] * (len(sizes) - 2) + [final_init]
        self.linears = nnx.List(
            [
                nnx.Linear(*pair, kernel_init=init, rngs=rngs)
                for pair, init in zip(pairs, inits, strict=True)
            ]
        )
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """Applies the network to the last axis."""
        for linear in self.linears[:-1]:
            x = self.activation(alone(linear(x)))
        return self.linears[-1](x)
