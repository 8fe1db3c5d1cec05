"""The symmetric eigenproblem, with derivatives that stay finite at repeated eigenvalues."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._matrices import at_least_float32, multiply
from symjax_frames._unrolled import largest, settled
from symjax_frames.linalg._closed_form import eigh_2x2, eigh_3x3
from symjax_frames.linalg._safe import power_of_two


@jax.custom_jvp
def _inverse(gap: Float[Array, "..."], noise: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 / gap`, broadened to `gap / (gap^2 + noise^2)`."""
    return gap / (gap * gap + noise * noise)


@_inverse.defjvp
def _inverse_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # The derivative of 1 / gap with 1 / gap broadened. The slope of the broadened curve itself is
    # 1 / noise^2 at a repeated eigenvalue, the largest where nothing is known.
    inverse = _inverse(*primals)
    return inverse, -inverse * inverse * tangents[0]


@jax.custom_jvp
def _decompose(
    matrix: Float[Array, "*batch dim dim"],
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim dim"]]:
    """`eigh` of a matrix of at least 32 bits, symmetric to the bit, with entries of order one."""
    match matrix.shape[-1]:
        case 1:
            return matrix[..., 0], jnp.ones_like(matrix)
        case 2:
            return eigh_2x2(matrix)
        case 3:
            return eigh_3x3(matrix)
        case _:
            return tuple(jnp.linalg.eigh(matrix, symmetrize_input=False))


@_decompose.defjvp
def _decompose_jvp(
    primals: tuple[Float[Array, "*batch dim dim"]], tangents: tuple[Float[Array, "*batch dim dim"]]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    values, vectors = _decompose(*primals)
    rotated = multiply(jnp.swapaxes(vectors, -1, -2), multiply(tangents[0], vectors))
    gaps = values[..., None, :] - values[..., :, None]
    # Entries are of order one, so 1 bounds the largest eigenvalue from below unless all are zero.
    size = largest(jnp.abs(jax.lax.stop_gradient(values)), -1)
    noise = jnp.finfo(values.dtype).eps * jnp.maximum(size, 1)[..., None, None]
    change = multiply(vectors, _inverse(gaps, noise * jnp.ones_like(gaps)) * rotated)
    return (values, vectors), (jnp.diagonal(rotated, axis1=-2, axis2=-1), change)


def eigh(
    matrix: Float[Array, "*batch dim dim"],
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim dim"]]:
    """Eigen-decomposition of symmetric matrices, `A V = V diag(lambda)`.

    Closed form for `dim` 1, 2 and 3, as exact as `jnp.linalg.eigh` and many times faster on
    batches; `jnp.linalg.eigh` beyond. Only the symmetric part `(A + A^T) / 2` is seen.

    The derivative, of any order and in both modes, is finite for every matrix:

        d lambda = diag(V^T dA V),    dV = V (F o (V^T dA V)),
        F_ij = D / (D^2 + eps^2 lambda_max^2),    D = lambda_j - lambda_i.

    Where eigenvalues are farther apart than rounding this is the exact one, and so are its own
    derivatives, which take `-F^2` for that of `F`. The vectors of a repeated eigenvalue have no
    derivative; what would turn them into each other is taken to be zero.

    Derivatives of the vectors of order n grow as `(gap |A|)^-n`, for gaps relative to `|A|`, and
    overflow only where that number itself does.

    Args:
      matrix: symmetric matrices.

    Returns:
      The eigenvalues, ascending, and the orthonormal eigenvectors, as columns.

    Raises:
      ValueError: if `matrix` is not square, is empty, or does not hold real floats.

    References:
      Lorentzian broadening of the eigenvector derivative: Liao et al., PRX 9 (2019) 031041,
      arXiv:1903.09650.
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(
            f"matrix must be square, of shape (..., dim, dim) with dim >= 1, got {matrix.shape}"
        )
    if not jnp.issubdtype(matrix.dtype, jnp.floating):
        raise ValueError(f"matrix must hold real floats, got {matrix.dtype}")
    return _at_any_scale(matrix)


@jax.jit
def _at_any_scale(matrix: Float[Array, "*batch dim dim"]) -> tuple[Array, Array]:
    """`eigh` of a matrix that is not symmetric to the bit, of any size and of few digits too."""
    given, matrix = matrix.dtype, at_least_float32(matrix)
    sizes = jnp.abs(jax.lax.stop_gradient(matrix))
    scale = settled(power_of_two(largest(largest(sizes, -1), -1)))[..., None]
    scaled = matrix / scale[..., None]
    values, vectors = _decompose((scaled + jnp.swapaxes(scaled, -1, -2)) / 2)
    return (scale * values).astype(given), vectors.astype(given)
