import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from experiments.tasks.molecules.networks import basis

CUTOFF = 3.0
EPS = np.finfo(np.float64).eps


def sphere(degree):
    """Directions and weights that integrate polynomials of the degree over the unit sphere."""
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angles = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    radii = np.sqrt(1 - heights**2)[:, None]
    z = np.broadcast_to(heights[:, None], (len(heights), len(angles)))
    directions = np.stack([radii * np.cos(angles), radii * np.sin(angles), z], axis=-1)
    return directions.reshape(-1, 3), np.repeat(weights / 2 / len(angles), len(angles))


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6])
def test_directions_span_the_spherical_harmonics(degree):
    directions, weights = sphere(2 * degree + 2)
    columns = np.asarray(basis.direction_basis(jnp.asarray(directions), degree))
    count = (degree + 1) ** 2
    assert columns.shape == (len(directions), count)
    np.testing.assert_allclose(np.sum(columns**2, axis=1), count, rtol=100 * EPS)

    gram = columns.T @ (weights[:, None] * columns)
    spectrum = np.linalg.eigvalsh(gram)
    assert math.isclose(np.sum(spectrum), count, rel_tol=100 * EPS)
    assert spectrum[0] > 1e-3

    polar, around = np.arccos(directions[:, 2]), np.arctan2(directions[:, 1], directions[:, 0])

    def off_span(order):
        """How far the harmonics of one degree are from what the columns span, at the most."""
        harmonics = [sph_harm_y(order, m, polar, around) for m in range(order + 1)]
        target = np.stack([part(each) for each in harmonics for part in (np.real, np.imag)], 1)
        fit = columns @ np.linalg.solve(gram, columns.T @ (weights[:, None] * target))
        return np.max(np.abs(fit - target))

    # Solving with the Gram matrix loses its condition number.
    assert max(off_span(order) for order in range(degree + 1)) < 1e4 * EPS * spectrum[-1]
    assert off_span(degree + 1) > 0.1


def test_the_envelope_falls_from_one_to_zero_with_two_derivatives():
    value = functools.partial(basis.envelope, cutoff=CUTOFF)
    slope = jax.grad(value)
    curvature = jax.grad(slope)
    functions = value, slope, curvature, jax.grad(curvature)
    ends = np.array([0.0, CUTOFF * (1 - 4 * EPS), CUTOFF, CUTOFF * (1 + 4 * EPS)])
    *smooth, third = jax.jit(jax.vmap(lambda x: jnp.stack([fn(x) for fn in functions])))(ends).T
    for order, (start, *at_cutoff) in enumerate(np.asarray(smooth)):
        assert start == (order == 0)
        # A polynomial of coefficients up to 48, whose second derivative has 56 times as much.
        np.testing.assert_allclose(at_cutoff, 0, atol=1e4 * EPS)
    np.testing.assert_allclose(third[1], -336 / CUTOFF**3, rtol=1e-6)
    assert third[3] == 0
    distances = jnp.linspace(0.1, CUTOFF, 50)
    assert np.all(np.diff(basis.envelope(distances, CUTOFF)) < 0)


def test_radial_functions_are_orthogonal_and_small_where_they_change_fast():
    nodes, weights = np.polynomial.legendre.leggauss(40)
    distances, weights = CUTOFF * (nodes + 1) / 2, CUTOFF * weights / 2
    columns = np.asarray(basis.radial_basis(jnp.asarray(distances), 6, CUTOFF))
    gram = columns.T @ ((weights * distances**2)[:, None] * columns)
    shares = 1 / np.arange(1, 7) ** 2
    expected = CUTOFF * np.diag(shares / shares.mean())
    np.testing.assert_allclose(gram, expected, atol=1000 * EPS)
