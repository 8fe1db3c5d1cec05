"""Orthonormal axes of one or two arms, with their derivative in closed form."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._matrices import multiply


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
    seen, moved = (
        jnp.sum(axes[..., :, None, :] * x[..., None, :, :], axis=-1) for x in (arms, change)
    )
    columns = [moved[..., 0] / seen[..., :1, 0]]
    if arms.shape[-1] == 3:
        columns.append((moved[..., 1] - seen[..., :1, 1] * columns[0]) / seen[..., 1:2, 1])
    columns.append(jnp.zeros_like(columns[0]))
    below = jnp.tril(jnp.stack(columns, axis=-1), -1)
    return axes, multiply(jnp.swapaxes(below, -1, -2) - below, axes)


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
    value = jnp.zeros_like(products)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        area = first[..., i] * second[..., j] - first[..., j] * second[..., i]
        value = value + area * area
    return _with_slope_of(jax.lax.stop_gradient(value), squares - products * products)
