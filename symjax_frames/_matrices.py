"""Products and determinants of small matrices, written out so that they fuse and stay exact.

A dot of two 3x3 matrices is slower than its nine sums on CPU, and the default precision of dots on
GPU and TPU rounds the factors, and with them the equivariance, to 1e-3. The functions are jitted so
that their many small operations are traced once for each shape, not at every use.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from symjax_frames._unrolled import copies, copies_over, repeated, total


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` itself, or in float32 if it has 16 bits, which LAPACK does not know."""
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


@jax.jit
def apply(
    linear: Float[Array, "dim dim"], x: Float[Array, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    """`linear @ x` for every vector of `x`."""
    dim = linear.shape[-1]
    if dim > 3:
        return jnp.einsum("ij,...j->...i", linear, x, precision=Precision.HIGHEST)
    return total(copies_over(linear, x.shape[:-1]) * copies(x, dim, x.ndim - 1), x.ndim)


@jax.jit
def multiply(
    left: Float[Array, "*left dim dim"], right: Float[Array, "*right dim dim"]
) -> Float[Array, "*both dim dim"]:
    """`left @ right` with stacks that broadcast against each other."""
    dim = left.shape[-1]
    if dim > 3:
        return jnp.einsum("...ij,...jk->...ik", left, right, precision=Precision.HIGHEST)
    products = repeated(left, dim, left.ndim) * repeated(right, dim, right.ndim - 2)
    return total(products, products.ndim - 2)


@jax.jit
def determinant(linear: Float[Array, "*stack dim dim"]) -> Float[Array, "*stack"]:
    """The determinant of every matrix of the stack."""
    dim = linear.shape[-1]
    if dim > 3:
        return jnp.linalg.det(at_least_float32(linear)).astype(linear.dtype)
    if dim == 1:
        return linear[..., 0, 0]
    rows = [[linear[..., i, j] for j in range(dim)] for i in range(dim)]
    if dim == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
