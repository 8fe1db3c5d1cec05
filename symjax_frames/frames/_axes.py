"""Orthonormal axes of one or two arms, with their derivative in closed form."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._unrolled import dot, repeated, settled
from symjax_frames.frames._smooth import squared_lengths


def _product(left: Array, right: Array) -> Array:
    """`left @ right`, as a loop that fuses with what comes before it, and keeps all digits."""
    terms = [left[:, k, None] * right[None, k] for k in range(left.shape[1])]
    return sum(terms[1:], terms[0])


def _change_of_product(left: Array, right: Array) -> Array:
    """`left @ right`, of which one is a change, in few loops when it is transposed.

    The transpose of the sum is a copy, and that of the copies the sum of a few terms.
    """
    copies_of_left = repeated(left, right.shape[1], 2)
    return jnp.sum(copies_of_left * repeated(right, left.shape[0], 0), axis=1)


@jax.custom_jvp
def orthonormal(arms: Float[Array, "several dim *any"]) -> Float[Array, "dim dim *any"]:
    r"""Right-handed axes, as rows, of which the first ones span the same spaces as the arms.

    With the arms $A = R E$, $R$ lower triangular, a change of the arms turns the axes by $dE = (L^T
    - L) E$, where $L$ is the part below the diagonal of $E\, dA^T R^{-T}$.

    Args:
      arms: one in the plane, two in space, neither zero nor parallel. Their components come before
        the axes of a batch: loops over these are long.
    """
    first = _unit(arms[0])
    if len(first) == 2:
        return jnp.stack([first, jnp.stack([-first[1], first[0]])])
    first, rest = settled(first), arms[1]
    # Twice, since a short remainder of a long arm is perpendicular to the first axis only up to the
    # rounding of the arm's length.
    for _ in range(2):
        rest = settled(rest - dot(rest, first)[None] * first)
    second = settled(_unit(rest))
    # Three arrays, and not nine components: each that is stacked is a loop of its own.
    third = _next(first) * _next(_next(second)) - _next(_next(first)) * _next(second)
    return jnp.stack([first, second, third])


def _next(vector: Float[Array, "3 *any"]) -> Float[Array, "3 *any"]:
    """The components `y, z, x`."""
    return jax.lax.concatenate([vector[1:], vector[:1]], 0)


def _unit(vector: Float[Array, "dim *any"]) -> Float[Array, "dim *any"]:
    # One division, and not one for each entry: divisions are loops of their own.
    return vector * (1 / jnp.sqrt(squared_lengths(vector)))[None]


@orthonormal.defjvp
def _orthonormal_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (arms,), (change,) = primals, tangents
    axes = orthonormal(arms)
    inverse = _inverse(_product(axes, jnp.swapaxes(arms, 0, 1)))
    turn = _change_of_product(_change_of_product(axes, jnp.swapaxes(change, 0, 1)), inverse)
    lower = jnp.tril(jnp.ones((len(axes),) * 2, axes.dtype), -1).reshape(
        *turn.shape[:2], *[1] * (turn.ndim - 2)
    )
    lower = lower * turn
    return axes, _change_of_product(jnp.swapaxes(lower, 0, 1) - lower, axes)


@jax.custom_jvp
def _inverse(upper: Float[Array, "dim chosen *any"]) -> Float[Array, "chosen dim *any"]:
    """The inverse of the upper triangle of what arms are along the axes; zero for the last axis."""
    first = 1 / upper[0, 0]
    zero = jnp.zeros_like(first)
    if upper.shape[1] == 1:
        return jnp.stack([first, zero])[None]
    second = 1 / upper[1, 1]
    entries = [first, -upper[0, 1] * first * second, zero, zero, second, zero]
    return jnp.stack(entries).reshape(2, 3, *first.shape)


@_inverse.defjvp
def _inverse_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    inverse = _inverse(*primals)
    # Below the diagonal the arms stay zero.
    rows, columns = tangents[0].shape[:2]
    upper = jnp.triu(jnp.ones((rows, columns), inverse.dtype)).reshape(
        rows, columns, *[1] * (inverse.ndim - 2)
    )
    change = _change_of_product(_change_of_product(inverse, upper * tangents[0]), inverse)
    return inverse, -change


@jax.custom_jvp
def _with_slope_of(value: Array, estimate: Array) -> Array:
    del estimate
    return value


@_with_slope_of.defjvp
def _with_slope_of_tangent(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    return _with_slope_of(*primals), tangents[1]


def squared_areas(
    first: Float[Array, "3 ..."],
    second: Float[Array, "3 ..."],
    squares: Float[Array, "*both"],
    products: Float[Array, "*both"],
) -> Float[Array, "*both"]:
    r"""$|a \times b|^2$ of vectors that broadcast against each other.

    Args:
      first: the vectors $a$.
      second: the vectors $b$.
      squares: $(a \cdot a) (b \cdot b)$.
      products: $a \cdot b$. Derivatives are those of $(a \cdot a) (b \cdot b) - (a \cdot b)^2$,
        which itself would cancel for vectors that are almost parallel.
    """
    first, second = jax.lax.stop_gradient((first, second))
    value = jnp.zeros_like(products)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        area = first[i] * second[j] - first[j] * second[i]
        value = value + area * area
    return _with_slope_of(value, squares - products * products)
