"""Eigen-decomposition of symmetric 2x2 and 3x3 matrices in a fixed number of elementwise steps.

Everything is written on components, so that a batch compiles to a few loops and no small matrix
product loses digits to the reduced precision of an accelerator. Entries are expected to be of order
one. Nothing here is meant to be differentiated.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import Chebyshev, Polynomial

from symjax_frames.linalg._safe import power_of_two

type _Vector = tuple[Array, Array, Array]

_THIRD = [
    float(coefficient)
    for coefficient in Chebyshev.interpolate(lambda c: np.cos(np.arccos(c) / 3), 8, [0, 1])
    .convert(kind=Polynomial)
    .coef
]
"""Coefficients of `cos(acos(c) / 3)` for `c` from 0 to 1."""


def _dot(first: _Vector, second: _Vector) -> Array:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _select(condition: Array, first: _Vector, second: _Vector) -> _Vector:
    return (
        jnp.where(condition, first[0], second[0]),
        jnp.where(condition, first[1], second[1]),
        jnp.where(condition, first[2], second[2]),
    )


def _combine(first_weight: Array, first: _Vector, second_weight: Array, second: _Vector) -> _Vector:
    return (
        first_weight * first[0] + second_weight * second[0],
        first_weight * first[1] + second_weight * second[1],
        first_weight * first[2] + second_weight * second[2],
    )


def _largest(*magnitudes: Array) -> Array:
    result = jnp.abs(magnitudes[0])
    for magnitude in magnitudes[1:]:
        result = jnp.maximum(result, jnp.abs(magnitude))
    return result


def _rotation(top: Array, bottom: Array, coupling: Array) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues `low <= high` of `[[top, coupling], [coupling, bottom]]` and a unit vector.

    The vector `(cosine, sine)` belongs to `high`, `(-sine, cosine)` to `low`.
    """
    half = (top - bottom) / 2
    scale = power_of_two(_largest(half, coupling))
    half, slope = half / scale, coupling / scale
    # A sum of two positive numbers. Their difference gives the same vector, but would cancel. Where
    # the matrix is a multiple of the identity the sum is zero, and any positive number serves.
    long = jnp.abs(half) + jnp.sqrt(half * half + slope * slope)
    long = jnp.where(long > 0, long, jnp.ones_like(long))
    length = jnp.sqrt(long * long + slope * slope)
    major, minor = long / length, slope / length
    shift = jnp.abs(coupling * (slope / long))
    low, high = jnp.minimum(top, bottom) - shift, jnp.maximum(top, bottom) + shift
    flipped = half < 0
    return low, high, jnp.where(flipped, minor, major), jnp.where(flipped, major, minor)


def eigh_2x2(
    matrix: Float[Array, "*batch 2 2"],
) -> tuple[Float[Array, "*batch 2"], Float[Array, "*batch 2 2"]]:
    """Ascending eigenvalues and eigenvectors (columns) by one Jacobi rotation."""
    low, high, cosine, sine = _rotation(matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 0, 1])
    vectors = jnp.stack([-sine, cosine, cosine, sine], axis=-1)
    return jnp.stack([low, high], axis=-1), vectors.reshape(matrix.shape)


def separated_vector(rows: tuple[_Vector, _Vector, _Vector], eigenvalue: Array) -> _Vector:
    """Unit eigenvector of a simple eigenvalue: the null space of `rows - eigenvalue I`.

    The cross products of the rows of that matrix are the rows of its adjugate, `c v v^T`: multiples
    of the vector, of which the longest, with the largest diagonal entry, is the exact one.
    """
    (a, d, e), (_, b, f), (_, _, c) = rows
    a, b, c = a - eigenvalue, b - eigenvalue, c - eigenvalue
    first = (b * c - f * f, e * f - d * c, d * f - b * e)
    second = (first[1], a * c - e * e, d * e - a * f)
    third = (first[2], second[2], a * b - d * d)
    vector = _select(second[1] > first[0], second, first)
    vector = _select(third[2] > jnp.maximum(first[0], second[1]), third, vector)
    length = jnp.sqrt(_dot(vector, vector))
    return vector[0] / length, vector[1] / length, vector[2] / length


def _complement(vector: _Vector) -> tuple[_Vector, _Vector]:
    """Two unit vectors that complete a unit vector to an orthonormal basis (Duff et al., 2017)."""
    x, y, z = vector
    sign = jnp.where(z < 0, -jnp.ones_like(z), jnp.ones_like(z))
    factor = -1 / (sign + z)
    mixed = x * y * factor
    return (1 + sign * x * x * factor, sign * mixed, -sign * x), (mixed, sign + y * y * factor, -y)


def _cosine_of_third(cosine: Array) -> Array:
    """`cos(acos(c) / 3)` from 0 to 1, as a polynomial and a step of Newton's on `4 y^3 - 3 y = c`.

    The polynomial is exact to 2e-9, and where `y` is at least `cos(30 degrees)`, the step squares
    that. It loses no digit, and takes a fifth of the time of an arc cosine and a cosine.
    """
    y = jnp.full_like(cosine, _THIRD[-1])
    for coefficient in _THIRD[-2::-1]:
        y = y * cosine + coefficient
    square = y * y
    return y - ((4 * square - 3) * y - cosine) / (12 * square - 3)


def eigh_3x3(
    matrix: Float[Array, "*batch 3 3"],
) -> tuple[Float[Array, "*batch 3"], Float[Array, "*batch 3 3"]]:
    """Ascending eigenvalues and eigenvectors (columns), orthonormal up to rounding.

    With `A = q I + D`, `trace D = 0`, the eigenvalue of `D` farthest from the other two is
    `2 p cos(acos(|r|) / 3)` with the sign of `r`, for `p^2 = |D|^2 / 6` and `r = det(D) / (2 p^3)`.
    It is at least `sqrt(3) p` away from them, so it and its vector are well conditioned for every
    matrix; the other two, however close, solve a 2x2 problem in the orthogonal complement.

    References:
      Smith, Eigenvalues of a symmetric 3x3 matrix, CACM 4 (1961) 168.
      Duff et al., Building an orthonormal basis, revisited, JCGT 6 (2017) 1.
    """
    diagonal = [matrix[..., i, i] for i in range(3)]
    off = [matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2]]
    mean = sum(diagonal[1:], diagonal[0]) / 3
    diagonal = [entry - mean for entry in diagonal]
    # For a multiple of the identity the rest is rounding, with a trace as large as itself.
    scale = power_of_two(_largest(*diagonal, *off))
    diagonal, off = [entry / scale for entry in diagonal], [entry / scale for entry in off]
    rest = sum(diagonal[1:], diagonal[0]) / 3
    diagonal = [entry - rest for entry in diagonal]
    # What is left may be tiny, and products of four of its entries must not vanish.
    finer = power_of_two(_largest(*diagonal, *off))
    a, b, c = (entry / finer for entry in diagonal)
    d, e, f = (entry / finer for entry in off)

    square = (a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6
    spread = jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))
    determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    cosine = determinant / (2 * spread * spread * spread)
    top = cosine >= 0
    extreme = 2 * spread * _cosine_of_third(jnp.minimum(jnp.abs(cosine), jnp.ones_like(cosine)))

    rows = ((a, d, e), (d, b, f), (e, f, c))
    alone = separated_vector(rows, jnp.where(top, extreme, -extreme))
    first, second = _complement(alone)

    def image(vector: _Vector) -> _Vector:
        return _dot(rows[0], vector), _dot(rows[1], vector), _dot(rows[2], vector)

    moved = image(second)
    block = _dot(first, image(first)), _dot(second, moved), _dot(first, moved)
    # A compiler that recomputes the block for each use may round each differently, and the nearly
    # equal eigenvalues would come out in the wrong order.
    low, high, along, across = _rotation(*jax.lax.optimization_barrier(block))
    high_vector = _combine(along, first, across, second)
    low_vector = _combine(-across, first, along, second)
    # The Rayleigh quotient is less sensitive to rounding of the vector than the cosine formula.
    quotient = _dot(alone, image(alone))

    values = (
        jnp.where(top, low, quotient),
        jnp.where(top, high, low),
        jnp.where(top, quotient, high),
    )
    columns = (
        _select(top, low_vector, alone),
        _select(top, high_vector, low_vector),
        _select(top, alone, high_vector),
    )
    shift = (mean + scale * rest)[..., None]
    # One flat stack: XLA on CPU takes three times as long over nested ones.
    vectors = jnp.stack([column[i] for i in range(3) for column in columns], axis=-1)
    spectrum = finer[..., None] * jnp.stack(values, axis=-1)
    return shift + scale[..., None] * spectrum, vectors.reshape(matrix.shape)
