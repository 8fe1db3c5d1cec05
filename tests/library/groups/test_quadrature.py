import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import eval_legendre, sph_harm_y

import symjax_frames as sf
from symjax_frames.groups._sphere import lebedev_orbits, lebedev_rule

SPACE = {"SO(3)": sf.special_orthogonal(3), "O(3)": sf.orthogonal(3)}
PLANE = {"SO(2)": sf.special_orthogonal(2), "O(2)": sf.orthogonal(2)}
GENERIC = np.random.default_rng(0).normal(size=(25, 3))
GENERIC /= np.linalg.norm(GENERIC, axis=-1, keepdims=True)


def matrices(rule):
    return np.asarray(rule.elements.linear, float), np.asarray(rule.weights, float)


def averaged_harmonics(linear, weights, degree):
    """The largest |sum_k w_k D^l(g_k) Y_l(p)|, zero over `2 l + 1` generic `p` only if the sum is.

    The weights may carry leading axes.
    """
    moved = np.einsum("kji,pj->kpi", linear, GENERIC[: 2 * degree + 1])
    polar, azimuth = (
        np.arccos(np.clip(moved[..., 2], -1, 1)),
        np.arctan2(moved[..., 1], moved[..., 0]),
    )
    orders = np.arange(degree + 1)[:, None, None]
    return np.abs(weights @ sph_harm_y(degree, orders, polar, azimuth)).max()


def in_both_parities(rule, degree):
    linear, weights = matrices(rule)
    determinants = np.linalg.det(linear)
    return averaged_harmonics(linear, np.stack([weights, weights * determinants]), degree)


@pytest.mark.parametrize("name", SPACE)
@pytest.mark.parametrize("degree", range(13))
def test_every_matrix_element_is_integrated_up_to_the_degree(name, degree):
    rule = sf.quadrature(SPACE[name], degree)
    linear, weights = matrices(rule)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-14)
    np.testing.assert_allclose(
        linear @ linear.swapaxes(1, 2), np.tile(np.eye(3), (len(linear), 1, 1)), atol=1e-15
    )
    determinants = np.linalg.det(linear)
    # A half of O(3) turns space inside out; the determinant is its degree 0 of odd parity.
    np.testing.assert_allclose(determinants @ weights, 1 if name == "SO(3)" else 0, atol=1e-14)
    for each in range(1, degree + 1):
        # Spherical harmonics are of order one, and scipy's good to some 1e-15 times their degree.
        assert in_both_parities(rule, each) < 2e-14
    reached = sf.groups.degree_of(rule)
    assert reached == {4: 5}.get(degree, degree)
    if reached < 12:
        # One degree higher some matrix element is missed.
        assert in_both_parities(rule, reached + 1) > 1e-3


@pytest.mark.parametrize("degree", [17, 24, 31])
def test_large_degrees_by_zonal_functions(degree):
    linear, weights = matrices(sf.quadrature(SPACE["SO(3)"], degree))
    cosines = np.einsum("pi,kij,qj->kpq", GENERIC[:4], linear, GENERIC[4:8])
    errors = [
        np.abs(np.einsum("k,kpq->pq", weights, eval_legendre(each, cosines))).max()
        for each in range(1, degree + 2)
    ]
    assert max(errors[:-1]) < 2e-14
    assert errors[-1] > 1e-3


def test_one_turn_less_about_the_points_is_not_enough():
    degree = 8
    linear, weights = matrices(sf.quadrature(SPACE["SO(3)"], degree))
    to_points = linear.reshape(-1, degree + 1, 3, 3)[:, 0]
    turns = np.tile(np.eye(3), (degree, 1, 1))
    turns[:, :2, :2] = sf.cyclic(degree).elements.linear
    fewer = (to_points[:, None] @ turns).reshape(-1, 3, 3)
    spread = np.repeat(weights[:: degree + 1] * (degree + 1) / degree, degree)
    rule = sf.Frame(
        sf.Isometry(jnp.asarray(fewer), jnp.zeros((len(fewer), 3))), jnp.asarray(spread)
    )
    assert averaged_harmonics(fewer, spread, degree) > 1e-3
    assert averaged_harmonics(fewer, spread, degree - 1) < 2e-14
    assert sf.groups.degree_of(rule) == degree - 1


@pytest.mark.parametrize("name", PLANE)
@pytest.mark.parametrize("degree", [0, 1, 2, 5, 12, 40])
def test_circular_harmonics(name, degree):
    rule = sf.quadrature(PLANE[name], degree)
    linear, weights = matrices(rule)
    assert len(weights) == (degree + 1) * (1 if name == "SO(2)" else 2)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-14)
    angles = np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
    improper = np.linalg.det(linear) < 0
    np.testing.assert_allclose(
        (weights * improper).sum(), 0 if name == "SO(2)" else 0.5, atol=1e-14
    )
    orders = np.arange(1, degree + 2)[:, None]
    for half in (improper, ~improper):
        averages = np.abs(np.exp(1j * orders * angles) @ (weights * half))
        assert (averages[:degree] < 1e-14).all()
        # C_{L+1} and D_{L+1} do not see the degree L + 1 at all.
        np.testing.assert_allclose(averages[degree], (weights * half).sum(), atol=1e-12)
    assert sf.groups.degree_of(rule, max_degree=64) == degree


def test_the_cheapest_rule_is_taken():
    def counts(group):
        return [len(sf.quadrature(group, degree).weights) for degree in range(16)]

    lebedev = {6: 26, 7: 26, 8: 38, 9: 38, 10: 50, 11: 50, 12: 86, 13: 86, 14: 86, 15: 86}
    expected = [1, 4, 12, 24, 60, 60] + [points * (each + 1) for each, points in lebedev.items()]
    assert counts(SPACE["SO(3)"]) == expected
    assert counts(SPACE["O(3)"]) == [2 * count for count in expected]
    # No Lebedev rule of ours reaches 42.
    assert len(sf.quadrature(SPACE["SO(3)"], 42).weights) == 22 * 43 * 43
    assert not {"13", "25", "27"} & set(lebedev_orbits())


@pytest.mark.parametrize("degree", [5, 11, 23, 41])
def test_lebedev_rules_average_polynomials_on_the_sphere(degree):
    points, weights = lebedev_rule(degree)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=4e-16)
    assert (weights > 0).all()
    heights = points @ GENERIC[0]
    # The mean of h^p is 1 / (p + 1); the powers of numbers below one round to less than eps each.
    for power in range(0, degree + 1, 2):
        np.testing.assert_allclose(weights @ heights**power, 1 / (power + 1), rtol=4e-14)
    assert abs(weights @ eval_legendre(degree + 1, heights)) > 1e-4


@pytest.mark.fast
def test_polynomials_become_equivariant_at_their_degree_and_not_one_below(keys):
    cloud, turns = jax.random.normal(next(keys), (4, 3)), jax.random.split(next(keys), 2)
    weight = jax.random.normal(next(keys), (3, 3))
    turns = jax.vmap(lambda key: SPACE["O(3)"].draw(key, jnp.float64).linear)(turns)

    def cubic(x):
        return (x @ weight) ** 3 + x[::-1] ** 2

    @jax.jit
    def errors(cloud):
        found = []
        for degree in (3, 4):
            rule = sf.quadrature(SPACE["O(3)"], degree)
            fn = sf.frame_average(
                cubic, lambda x, rule=rule: rule, in_actions=sf.vectors, out_actions=sf.vectors
            )
            out = fn(cloud)
            moved = jnp.stack([fn(cloud @ turn.T) - out @ turn.T for turn in turns])
            found.append(jnp.max(jnp.abs(moved)) / jnp.max(jnp.abs(out)))
        return jnp.stack(found)

    # Three factors of the cloud and one index of the output: degree four.
    below, exact = errors(cloud)
    assert exact < 100 * jnp.finfo(float).eps
    assert below > 1e-2


def test_single_precision():
    for group in (*SPACE.values(), *PLANE.values()):
        for degree in (3, 9):
            rule = sf.quadrature(group, degree, jnp.float32)
            assert {leaf.dtype for leaf in jax.tree.leaves(rule)} == {jnp.dtype("float32")}
            assert sf.groups.degree_of(rule) == degree
    # What single precision rounds is too much for double: the tolerance follows the dtype.
    widened = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), rule)
    assert sf.groups.degree_of(widened) < 9


def test_degree_of_other_frames(keys):
    cloud = jax.random.normal(next(keys), (6, 3))
    close = sf.close(sf.pca_frame, sf.signed_permutations(3), already=sf.signs(3))
    clouds = [cloud.astype(dtype) for dtype in ("float32", "float64")]
    *frames, closed = jax.jit(
        lambda *clouds: [*[sf.pca_frame(x, group="SE") for x in clouds], close(clouds[1])]
    )(*clouds)
    assert [sf.groups.degree_of(frame) for frame in frames] == [1, 1]
    assert sf.groups.degree_of(closed) == 3
    rule = sf.quadrature(SPACE["O(3)"], 5)
    assert sf.groups.degree_of(rule, max_degree=2) == 2
    assert sf.groups.degree_of(rule, max_degree=0) == 0
    # Uneven halves: of the determinant something is left.
    uneven = rule._replace(weights=rule.weights * jnp.where(jnp.arange(120) < 60, 1.5, 0.5))
    assert sf.groups.degree_of(uneven) == -1
    one_moved = rule._replace(weights=rule.weights.at[0].add(1e-9).at[1].add(-1e-9))
    assert sf.groups.degree_of(one_moved) == 0


@pytest.mark.usefixtures("unhooked")
def test_errors():
    with pytest.raises(
        ValueError, match=r"group must be one of SO\(2\), O\(2\), SO\(3\), O\(3\), got SE"
    ):
        sf.quadrature(sf.special_euclidean(3), 2)
    with pytest.raises(ValueError, match=r"got E\(3\); for E or SE center the data"):
        sf.quadrature(sf.euclidean(3), 2)
    with pytest.raises(ValueError, match="got D4; use group_average for a finite group"):
        sf.quadrature(sf.dihedral(4), 2)
    with pytest.raises(ValueError, match=r"got SO\(4\)"):
        sf.quadrature(sf.special_orthogonal(4), 2)
    with pytest.raises(ValueError, match="group must be a Group.*got 'SO'"):
        sf.quadrature("SO", 2)
    for degree in (-1, 2.0, True):
        with pytest.raises(
            ValueError, match=f"degree must be an integer of at least 0, got {degree}"
        ):
            sf.quadrature(SPACE["SO(3)"], degree)
    with pytest.raises(ValueError, match="dtype must be floating, got int32"):
        sf.quadrature(SPACE["SO(3)"], 2, jnp.int32)
    rule = sf.quadrature(SPACE["SO(3)"], 2)
    with pytest.raises(ValueError, match="max_degree must be an integer of at least 0, got -1"):
        sf.groups.degree_of(rule, -1)
    with pytest.raises(ValueError, match="rule must be a Frame of Isometry elements.*got Group"):
        sf.groups.degree_of(sf.octahedral())
    with pytest.raises(ValueError, match=r"rule must be one set.*shape \(1, 4, 4\)"):
        sf.groups.degree_of(sf.Frame(sf.Isometry(jnp.eye(4)[None], jnp.zeros((1, 4))), jnp.ones(1)))
    with pytest.raises(ValueError, match="of at least 32 bits, got bfloat16"):
        sf.groups.degree_of(sf.quadrature(SPACE["SO(3)"], 2, jnp.bfloat16))


def test_a_rule_is_a_frame_of_every_average(keys):
    rule = sf.quadrature(SPACE["SO(3)"], 2)
    x = jnp.array([[1.0, 2.0, 3.0]])
    law = {"in_actions": sf.vectors, "out_actions": None}
    fn = lambda x: x[0, 0] ** 2
    sampled = sf.sampled_average(fn, rule, num_samples=4000, **law)

    @jax.jit
    def run(x, key):
        found = [average(fn, rule, **law)(x) for average in (sf.frame_average, sf.group_average)]
        wider = sf.frame_average(fn, sf.close(rule, sf.signs(3)), **law)
        return [*found, wider(x)], sampled(key, x)

    exact, drawn = run(x, next(keys))
    np.testing.assert_allclose(exact, 14 / 3, rtol=1e-14)
    np.testing.assert_allclose(drawn, 14 / 3, rtol=0.1)
    assert abs(fn(x[0:1]) - 14 / 3) > 1
    with pytest.raises(ValueError, match="already needs a group"):
        sf.group_average(fn, rule, already=sf.signs(3), **law)
