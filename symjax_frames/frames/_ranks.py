"""How the points of a cloud are ranked as axes, and how fast a weight falls with the rank."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames.frames._smooth import inverse

_CROWD = 8
"""Points among which a width of `1 - threshold` leaves few enough. In a larger crowd more points are
near the best, in proportion to their number."""

_NARROWEST = 1e-3
"""The least width: a step over it must be wide against rounding."""

_HEIGHT = 2
"""The exponent of the height. Of 8, what rounding leaves of the area of points ahead would outrank the
areas of points behind, by `exp(2 * 8)`."""


class Ranking(NamedTuple):
    """What makes points come first.

    Attributes:
      factors: positive, multiply the squared lengths that points are ranked by; or none.
      width: how far below the best a rank has weight zero, as a share of the best.
      height: the exponent by which points ahead along the first axis gain for the second one.
    """

    factors: Float[Array, " points"] | None
    width: float | Float[Array, ""]
    height: float | Float[Array, ""]

    def of_first(self, squares: Float[Array, " points"]) -> Float[Array, " points"]:
        """The ranks as the first axis, from the squared lengths of the arms."""
        return squares if self.factors is None else squares * self.factors

    def of_second(
        self,
        areas: Float[Array, "*any"],
        products: Float[Array, "*any"],
        squares: Float[Array, "*any"],
        factors: Float[Array, "..."] | None,
    ) -> Float[Array, "*any"]:
        """The ranks as the second axis.

        Args:
          areas: the squared areas that arms make with the first one.
          products: their products with it.
          squares: the sum of both squared lengths.
          factors: of the points.
        """
        ahead = 2 * products * inverse(squares)
        ranks = areas * jnp.exp(self.height * (ahead - 1))
        return ranks if factors is None else ranks * jnp.broadcast_to(factors, ranks.shape)


def ranking_of_crowd(
    count: Float[Array, ""], threshold: float, factors: Float[Array, " points"] | None
) -> Ranking:
    """The ranking for a number of points: the more there are, the finer it has to tell them apart."""
    crowd = jnp.maximum(count / _CROWD, 1)
    width = jnp.maximum((1 - threshold) / crowd, _NARROWEST)
    return Ranking(factors, width, _HEIGHT)
