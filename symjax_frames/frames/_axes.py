"""Orthonormal axes of one or two arms, with their derivative in closed form."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _product(left: Array, right: Array) -> Array:
    """`left @ right`, as a loop that fuses with what comes before it, and keeps all digits."""
    return jnp.sum(left[..., :, :, None] * right[..., None, :, :], axis=-2)


@jax.custom_jvp
def orthonormal(arms: Float[Array, "*any chosen dim"]) -> Float[Array, "*any dim dim"]:
    r"""Right-handed axes, as rows, of which the first ones span the same spaces as the arms.

    With the arms $A = R E$, $R$ lower triangular, a change of the arms turns the axes by $dE = (L^T
    - L) E$, where $L$ is the part below the diagonal of $E\, dA^T R^{-T}$.

    Args:
      arms: one in the plane, two in space, neither zero nor parallel.
    """
    first = arms[..., 0, :]
    first = first / jnp.sqrt(jnp.sum(first * first, axis=-1, keepdims=True))
    if arms.shape[-1] == 2:
        return jnp.stack([first, jnp.stack([-first[..., 1], first[..., 0]], axis=-1)], axis=-2)
    rest = arms[..., 1, :]
    # Twice, since a short remainder of a long arm is perpendicular to the first axis only up to the
    # rounding of the arm's length.
    for _ in range(2):
        rest = rest - jnp.sum(rest * first, axis=-1, keepdims=True) * first
    second = rest / jnp.sqrt(jnp.sum(rest * rest, axis=-1, keepdims=True))
    return jnp.stack([first, second, jnp.cross(first, second)], axis=-2)


@orthonormal.defjvp
def _orthonormal_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (arms,), (change,) = primals, tangents
    axes = orthonormal(arms)
    inverse = _inverse(_product(axes, jnp.swapaxes(arms, -1, -2)))
    turn = _product(_product(axes, jnp.swapaxes(change, -1, -2)), inverse)
    return axes, _product(jnp.triu(jnp.swapaxes(turn, -1, -2), 1) - jnp.tril(turn, -1), axes)


@jax.custom_jvp
def _inverse(upper: Float[Array, "*any dim chosen"]) -> Float[Array, "*any chosen dim"]:
    """The inverse of the upper triangle of what arms are along the axes; zero for the last axis."""
    first = 1 / upper[..., 0, 0]
    zero = jnp.zeros_like(first)
    if upper.shape[-1] == 1:
        return jnp.stack([first, zero], axis=-1)[..., None, :]
    second = 1 / upper[..., 1, 1]
    entries = [first, -upper[..., 0, 1] * first * second, zero, zero, second, zero]
    return jnp.stack(entries, axis=-1).reshape(*first.shape, 2, 3)


@_inverse.defjvp
def _inverse_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    inverse = _inverse(*primals)
    # Below the diagonal the arms stay zero.
    change = _product(_product(inverse, jnp.triu(tangents[0])), inverse)
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
    first: Float[Array, "... 3"],
    second: Float[Array, "... 3"],
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
        area = first[..., i] * second[..., j] - first[..., j] * second[..., i]
        value = value + area * area
    return _with_slope_of(value, squares - products * products)
