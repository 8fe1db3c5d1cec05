import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_frames.linalg import eigh, safe_norm, safe_normalize
from symjax_frames.linalg._closed_form import separated_vector

# Compiled as users do, where roundings are counted.
counts_roundings = pytest.mark.usefixtures("optimized")
COUNT = 1000
solve = jax.jit(eigh)
SIZE = 38 * COUNT  # Matrices of all families: tests of one dimension and dtype share a program.
DTYPES = (jnp.float32, jnp.float64)


def normal(*shape, dtype=jnp.float64):
    """Normal numbers drawn by NumPy, which compiles nothing."""
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def rotated(values, rng):
    """`Q diag(values) Q^T` for random rotations; `values` is (count, dim)."""
    dim = values.shape[-1]
    basis = np.linalg.qr(rng.normal(size=(len(values), dim, dim)))[0]
    return np.einsum("nij,nj,nkj->nik", basis, values, basis)


def families(dim, seed=0):
    """Symmetric matrices, easy and hard, name -> (COUNT, dim, dim) in float64."""
    rng = np.random.default_rng(seed)
    ones = np.ones((COUNT, dim))
    last = np.zeros((COUNT, dim))
    last[:, -1] = 1
    signed = rng.normal(size=(COUNT, dim))
    full = rng.normal(size=(COUNT, dim, dim))
    full = full + full.transpose(0, 2, 1)
    order = np.roll(np.arange(dim), 1)
    coupled = np.zeros((COUNT, dim, dim))
    coupled[:, 0, -1] = coupled[:, -1, 0] = signed[:, 0]
    grading = 10.0 ** (-4 * np.arange(dim))
    result = {
        "random": full,
        "integers": np.round(full),
        "zero": 0 * full,
        "identity": signed[:, :1, None] * np.eye(dim),
        "nearly identity": np.eye(dim) + 1e-30 * full * (1 - np.eye(dim)),
        "repeated": rotated(ones + last * signed, rng),
        "repeated thrice": rotated(ones, rng),
        "rank 1": rotated(last, rng),
        "rank 2": rotated(signed * (np.arange(dim) < 2), rng),
        "diagonal": signed[:, :, None] * np.eye(dim),
        "permuted diagonal": (np.abs(signed)[:, :, None] * np.eye(dim))[:, order][:, :, order],
        "coupled pair": coupled,
        "graded": rotated(ones * grading, rng),
        "graded entries": full * grading[:, None] * grading,
    }
    for exponent in range(1, 13):
        gap = 10.0**-exponent
        pair = ones.copy()
        pair[:, 0] += gap
        pair[:, 2:] = signed[:, 2:]
        result[f"pair {gap:.0e}"] = rotated(pair, rng)
        result[f"cluster {gap:.0e}"] = rotated(ones + gap * signed, rng)
    return result


def errors(matrix, values, vectors):
    """Residual over the largest entry, and departure from orthonormality, for each matrix."""
    wide = np.longdouble
    matrix, values, vectors = (np.asarray(x).astype(wide) for x in (matrix, values, vectors))
    residual = np.einsum("nij,njk->nik", matrix, vectors) - vectors * values[:, None, :]
    gram = np.einsum("nji,njk->nik", vectors, vectors) - np.eye(vectors.shape[-1])
    largest = np.abs(matrix).max((1, 2))
    residual = np.abs(residual).max((1, 2)) / np.where(largest > 0, largest, 1)
    return residual.astype(float), np.abs(gram).max((1, 2)).astype(float)


def symmetric_batch(matrices, dtype=jnp.float64):
    matrix = jnp.asarray(matrices, dtype)
    return (matrix + matrix.swapaxes(1, 2)) / 2


@counts_roundings
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", (2, 3))
def test_as_exact_as_lapack(dim, dtype):
    sets = families(dim)
    matrix = symmetric_batch(np.concatenate(list(sets.values())), dtype)
    assert len(matrix) == SIZE
    values, vectors = solve(matrix)
    assert values.dtype == vectors.dtype == dtype
    assert np.all(np.diff(values) >= 0)
    eps = float(jnp.finfo(dtype).eps)
    ours = errors(matrix, values, vectors)
    lapack = errors(matrix, *jnp.linalg.eigh(matrix))
    # Both solve 2x2 as well as rounded cosines allow, 2 eps: which maximum is larger is chance.
    chance = eps / 4 if dim == 2 else 0
    for own, reference in zip(ours, lapack, strict=True):
        assert own.max() <= reference.max() + chance
        # An error is a sum of about ten roundings, of both signs, of numbers up to 2.
        for name, error in zip(sets, own.reshape(len(sets), -1), strict=True):
            assert error.max() < 8 * eps, name
    # Where nothing has to be rotated, nothing is.
    start = COUNT * list(sets).index("diagonal")
    assert set(np.unique(np.abs(vectors[start : start + COUNT]))) == {0.0, 1.0}


@counts_roundings
def test_worst_separated_eigenvalue_first_is_bad():
    """The same adjugate formula, given an eigenvalue that has a close neighbour."""
    eps = float(jnp.finfo(jnp.float32).eps)
    matrix = symmetric_batch(families(3)["pair 1e-04"], jnp.float32)
    values, vectors = (x[:COUNT] for x in solve(jnp.tile(matrix, (SIZE // COUNT, 1, 1))))
    # Pairs at one, with the third far away, above or below.
    far = np.abs(np.asarray(values) - 1).max(axis=1) > 0.5
    matrix, values, vectors = matrix[far], values[far], vectors[far]

    @jax.jit
    def formula(matrix, values):
        rows = tuple(tuple(matrix[:, i, j] for j in range(3)) for i in range(3))
        columns = [jnp.stack(separated_vector(rows, values[:, k]), -1) for k in range(3)]
        return jnp.stack(columns, -1)

    naive = formula(matrix, values)
    residual, departure = errors(matrix, values, naive)
    assert max(map(np.max, errors(matrix, values, vectors))) < 8 * eps
    assert np.nanmax(residual) > 100 * eps
    assert np.nanmax(departure) > 1e-2
    # The well separated eigenvalue, of the same matrices and by the same formula, is right.
    alone = np.abs(np.asarray(values) - 1).argmax(axis=1)[:, None, None]
    best, expected = (np.take_along_axis(np.asarray(v), alone, 2) for v in (naive, vectors))
    assert np.abs(np.abs(np.sum(best * expected, axis=1)) - 1).max() < 16 * eps


@pytest.mark.parametrize("dim", (1, 4, 5))
def test_other_dimensions(dim):
    factor = normal(7, dim, dim)
    matrix = factor + factor.swapaxes(1, 2)
    values, vectors = solve(matrix)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-13)
    assert max(map(np.max, errors(matrix, values, vectors))) < 1e-14


@counts_roundings
@pytest.mark.parametrize("dim", (2, 3, 4))
def test_scale_changes_nothing_but_the_scale(dim):
    count = SIZE if dim < 4 else 50
    factor = normal(count, dim, dim, dtype=jnp.float32)
    values, vectors = solve(factor + factor.swapaxes(1, 2))
    for exponent in (-100, 100, 120):
        scale = jnp.float32(2.0**exponent)
        scaled_values, scaled_vectors = solve(scale * (factor + factor.swapaxes(1, 2)))
        np.testing.assert_array_equal(scaled_values, scale * values)
        np.testing.assert_array_equal(scaled_vectors, vectors)


@pytest.mark.parametrize("dim", (2, 3))
def test_batch_vmap_and_single_agree(dim):
    factor = normal(2, 3, dim, dim)
    batch = solve(factor)
    mapped = jax.jit(jax.vmap(jax.vmap(eigh)))(factor)
    # Without jit in two dimensions only: every operation is compiled for itself.
    single = eigh(factor[1, 2]) if dim == 2 else (each[1, 2] for each in mapped)
    assert batch[0].shape == (2, 3, dim) and batch[1].shape == (2, 3, dim, dim)
    for whole, each, one in zip(batch, mapped, single, strict=True):
        # Compilers may contract products and sums: the same up to rounding, over gaps of order one.
        np.testing.assert_allclose(whole, each, atol=1e-13)
        np.testing.assert_allclose(whole[1, 2], one, atol=1e-13)
    empty = jax.eval_shape(eigh, jnp.zeros((0, dim, dim)))
    assert empty[0].shape == (0, dim) and empty[1].shape == (0, dim, dim)


def test_only_the_symmetric_part_is_seen():
    factor = normal(20, 2, 2)
    for left, right in zip(solve(factor), solve(symmetric_batch(factor)), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-13)
    gradient = jax.jit(jax.grad(lambda matrix: jnp.sum(eigh(matrix)[1] ** 3)))(factor)
    np.testing.assert_array_equal(gradient, gradient.swapaxes(1, 2))


def test_no_matrix_products_below_dimension_four():
    """They lose digits on accelerators, and time everywhere."""

    def gradient(matrix):
        return jax.grad(lambda m: jnp.sum(eigh(m)[1]))(matrix)

    for dim, expected in ((2, False), (3, False), (4, True)):
        text = str(jax.make_jaxpr(gradient)(jnp.eye(dim)))
        assert ("dot_general" in text) is expected


def invariant(solve):
    """Smooth function of a matrix that does not see the signs of the eigenvectors."""

    def loss(matrix):
        values, vectors = solve(matrix)
        weights = jnp.cos(jnp.arange(vectors.size, dtype=matrix.dtype)).reshape(vectors.shape)
        return jnp.sum(weights * vectors * vectors) + jnp.sum(jnp.sin(values) * weights[0])

    return loss


def separated(dim, count=8):
    """Matrices with eigenvalues at least 1/2 apart, and directions of norm one."""
    rng = np.random.default_rng(dim)
    spectrum = np.cumsum(rng.uniform(0.5, 1.0, size=(count, dim)), axis=1) - 1
    direction = rng.normal(size=(count, dim, dim))
    direction = direction + direction.transpose(0, 2, 1)
    direction /= np.linalg.norm(direction, axis=(1, 2), keepdims=True)
    return jnp.asarray(rotated(spectrum, rng)), jnp.asarray(direction)


@pytest.mark.parametrize("dim", (1, 2, pytest.param(3, marks=pytest.mark.fast), 4))
def test_derivatives_are_those_of_central_differences(dim):
    matrix, direction = separated(dim)

    @jax.jit
    @jax.vmap
    def derivatives(matrix, direction):
        function = jax.value_and_grad(invariant(eigh))
        return jax.jvp(function, (matrix,), (direction,))

    # Rounding eps / step equals the truncation, step^2 over the gap squared, near eps^(1/3).
    step = 1e-5
    (_, first), (slope, second) = derivatives(matrix, direction)
    (above, first_above), _ = derivatives(matrix + step * direction, direction)
    (below, first_below), _ = derivatives(matrix - step * direction, direction)
    np.testing.assert_allclose(slope, jnp.sum(first * direction, (1, 2)), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(slope, (above - below) / (2 * step), atol=1e-7)
    np.testing.assert_allclose(second, (first_above - first_below) / (2 * step), atol=1e-6)
    if dim == 2:
        # The tolerance sees the part that comes from the vectors.
        frozen = invariant(lambda m: (eigh(m)[0], jax.lax.stop_gradient(eigh(m)[1])))
        wrong = jax.jit(jax.vmap(lambda m, d: jax.jvp(frozen, (m,), (d,))[1]))(matrix, direction)
        assert np.abs(wrong - slope).min() > 1e-5


EXACTLY_REPEATED = [
    np.eye(3),
    np.diag([0.0, 1.0, 0.0]),
    np.diag([1.0, 1.0, 2.0]),
    np.diag([-1.0, 2.0, 2.0]),
    np.eye(3) + 1e-20 * (np.ones((3, 3)) - np.eye(3)),
]
REPEATED_BUT_FOR_ROUNDING = [
    np.ones((3, 3)),
    np.ones((3, 3)) + np.eye(3),
    np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    *rotated(np.array([[0.0, 0, 1], [1, 1, 2], [-1, 2, 2], [1, 1, 1]]), np.random.default_rng(0)),
]


@jax.jit
@jax.vmap
def all_derivatives(matrix, direction):
    """Value, gradient, and derivative of the gradient, of a function that sees everything."""

    def loss(matrix):
        values, vectors = eigh(matrix)
        return jnp.sum(jnp.sin(vectors + 1)) + jnp.sum(values)

    return loss(matrix), *jax.jvp(jax.grad(loss), (matrix,), (direction,))


@pytest.mark.parametrize("scale", (1e-30, 1e-20, 1.0, 1e30))
def test_repeated_eigenvalues_have_finite_derivatives(scale):
    matrix = np.stack([np.zeros((3, 3)), *EXACTLY_REPEATED, *REPEATED_BUT_FOR_ROUNDING])
    noise = np.random.default_rng(0).normal(size=matrix.shape)
    # A perturbation of the size of the matrix; the zero matrix has none.
    direction = np.where(matrix.any((1, 2), keepdims=True), scale, 1) * (
        noise + noise.swapaxes(1, 2)
    )
    value, first, second = all_derivatives(
        jnp.asarray(scale * matrix, jnp.float32), jnp.asarray(direction, jnp.float32)
    )
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(first))
    # Gaps of 1e-7 have second derivatives of 1e14 / scale, which float32 cannot always hold.
    representable = slice(None) if scale > 1e-24 else slice(1 + len(EXACTLY_REPEATED))
    assert np.all(np.isfinite(second[representable]))


@pytest.mark.parametrize("dim", (2, pytest.param(3, marks=pytest.mark.fast)))
def test_repeated_eigenvalues_break_the_usual_derivative(dim):
    matrix = jnp.eye(dim)
    assert np.all(np.isfinite(jax.jit(jax.grad(invariant(eigh)))(matrix)))
    assert not np.all(np.isfinite(jax.jit(jax.grad(invariant(jnp.linalg.eigh)))(matrix)))


@counts_roundings
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivative_within_a_repeated_eigenvalue_is_zero(dtype):
    """And the others are exact: the far vector turns as first-order perturbation theory says."""
    matrix = jnp.diag(jnp.array([1.0, 1.0, 3.0], dtype))
    change = jnp.array([[0.0, 5, 2], [5, 0, 4], [2, 4, 0]], dtype)
    pushed = jax.jit(lambda matrix, change: jax.jvp(eigh, (matrix,), (change,)))(matrix, change)
    (_, vectors), (value_change, vector_change) = pushed
    turned = vectors.T @ vector_change
    coupling = vectors.T @ change @ vectors
    np.testing.assert_array_equal(value_change, jnp.zeros(3, dtype))
    assert turned[0, 1] == turned[1, 0] == 0
    tolerance = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(turned[:2, 2], coupling[:2, 2] / 2, rtol=tolerance)
    np.testing.assert_allclose(turned[2, :2], -coupling[2, :2] / 2, rtol=tolerance)


def test_wrong_arguments_are_named(unhooked):
    for shape in ((3,), (2, 3), (0, 0)):
        with pytest.raises(ValueError, match=r"matrix must be square.*got \("):
            eigh(jnp.zeros(shape))
    for dtype in (int, complex):
        with pytest.raises(ValueError, match="matrix must hold real floats, got"):
            eigh(jnp.eye(3, dtype=dtype))


WEIGHT = np.array([1.0, -2.0, 0.5])


@jax.jit
def norms(x):
    """Norms along both axes and unit vectors, the gradients of two of them, the textbook norm."""
    weight = jnp.asarray(WEIGHT, x.dtype)
    norm_gradient = jax.grad(lambda x: jnp.sum(safe_norm(x)))(x)
    unit_gradient = jax.grad(lambda x: jnp.sum(safe_normalize(x) * weight[None]))(x)
    plain = jnp.sqrt(jnp.sum(x * x, axis=-1))
    kept = safe_norm(x, axis=0, keepdims=True)
    return safe_norm(x), kept, safe_normalize(x), norm_gradient, unit_gradient, plain


@counts_roundings
@pytest.mark.parametrize("scale", (1e-25, 1.0, 1e25))
def test_safe_norm_at_every_scale(scale):
    x = jnp.float32(scale) * normal(40, 3, dtype=jnp.float32)
    wide = np.asarray(x).astype(np.float64)
    expected = np.linalg.norm(wide, axis=-1)
    direction = wide / expected[:, None]
    norm, kept, unit, norm_gradient, unit_gradient, plain = norms(x)
    tolerance = 4 * float(jnp.finfo(jnp.float32).eps)
    np.testing.assert_allclose(norm, expected, rtol=tolerance)
    np.testing.assert_allclose(kept, np.linalg.norm(wide, axis=0, keepdims=True), rtol=tolerance)
    np.testing.assert_allclose(unit, direction, rtol=tolerance)
    np.testing.assert_allclose(norm_gradient, direction, rtol=tolerance)
    # d(x / |x|) is the projection onto what is perpendicular to x, over |x|.
    perpendicular = WEIGHT - direction * (direction @ WEIGHT)[:, None]
    turned = np.asarray(unit_gradient).astype(np.float64) * expected[:, None]
    np.testing.assert_allclose(turned, perpendicular, atol=8 * tolerance)
    assert np.allclose(plain, expected, rtol=tolerance, atol=0) is (scale == 1.0)


@counts_roundings
@pytest.mark.parametrize("scale", (1e38, 2e-38))
def test_safe_norm_at_both_ends_of_the_floats(scale):
    """Where a compiler that divides by multiplying needs a reciprocal that is not flushed."""
    x = jnp.asarray([[scale, -2 * scale, 2 * scale]], jnp.float32)
    norm, _, unit, _, _, plain = norms(x)
    np.testing.assert_allclose(norm, [3 * scale], rtol=1e-6)
    np.testing.assert_allclose(unit, [[1 / 3, -2 / 3, 2 / 3]], rtol=1e-6)
    assert not np.allclose(plain, [3 * scale], rtol=1e-6, atol=0)


@pytest.mark.fast
def test_safe_norm_is_flat_at_zero():
    zero = jnp.zeros((2, 3))

    def total(norm):
        return lambda x: jnp.sum(norm(x, axis=-1))

    @jax.jit
    def run(x):
        smooth = total(safe_norm), lambda x: jnp.sum(safe_normalize(x))
        pushed = [jax.jvp(jax.grad(function), (x,), (x + 1,)) for function in smooth]
        usual = jax.grad(total(jnp.linalg.norm))(x)
        return pushed, safe_norm(x), safe_normalize(x), usual

    pushed, norm, unit, usual = run(zero)
    np.testing.assert_array_equal(np.stack(pushed), np.zeros((2, 2, 2, 3)))
    np.testing.assert_array_equal(norm, zero[:, 0])
    np.testing.assert_array_equal(unit, zero)
    assert np.all(np.isnan(usual))


def test_safe_norm_second_derivative():
    x, direction = normal(2, 5, 3)
    hessian = jax.jit(jax.vmap(jax.hessian(safe_norm)))(x)
    norm = np.linalg.norm(x, axis=-1)[:, None, None]
    unit = np.asarray(x)[:, :, None] / norm
    expected = (np.eye(3) - unit * unit.transpose(0, 2, 1)) / norm
    np.testing.assert_allclose(hessian, expected, atol=1e-13)
