import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf

FINITE = {
    "C1": (sf.cyclic(1), 1),
    "C4": (sf.cyclic(4), 4),
    "C7": (sf.cyclic(7), 7),
    "D1": (sf.dihedral(1), 2),
    "D6": (sf.dihedral(6), 12),
    "T": (sf.tetrahedral(), 12),
    "Th": (sf.tetrahedral(inversion=True), 24),
    "O": (sf.octahedral(), 24),
    "Oh": (sf.octahedral(inversion=True), 48),
    "I": (sf.icosahedral(), 60),
    "Ih": (sf.icosahedral(inversion=True), 120),
    "signs(1)": (sf.signs(1), 2),
    "signs(3)": (sf.signs(3), 8),
    "signs(4)+": (sf.signs(4, proper=True), 8),
    "permutations(3)": (sf.permutations(3), 6),
    "permutations(4)+": (sf.permutations(4, proper=True), 12),
    "signed_permutations(3)": (sf.signed_permutations(3), 48),
    "signed_permutations(2)+": (sf.signed_permutations(2, proper=True), 4),
}
COMPACT = {"O": sf.orthogonal, "SO": sf.special_orthogonal}
CONTINUOUS = {
    "T": sf.translation,
    "E": sf.euclidean,
    "SE": sf.special_euclidean,
    **COMPACT,
}


@functools.cache
def draws_of_all(dim):
    """64 elements of each continuous group, compiled together."""

    @jax.jit
    @jax.vmap
    def draw(key):
        return {name: make(dim).draw(key, jnp.float64) for name, make in CONTINUOUS.items()}

    return jax.device_get(draw(jax.random.split(jax.random.key(0), 64)))


@pytest.mark.fast
@pytest.mark.parametrize("name", FINITE)
def test_finite_groups_are_groups(name):
    group, order = FINITE[name]
    matrices = group.elements.linear
    assert group.order == order == len(matrices)
    np.testing.assert_array_equal(matrices[0], np.eye(group.dim))
    np.testing.assert_allclose(
        matrices @ matrices.swapaxes(1, 2), np.tile(np.eye(group.dim), (order, 1, 1)), atol=1e-14
    )

    def member(candidates):
        distance = np.abs(candidates[:, None] - matrices[None]).max((2, 3))
        return (distance < 1e-12).sum(1) == 1

    assert member(matrices).all(), "distinct"
    assert member(matrices.swapaxes(1, 2)).all(), "inverses"
    for element in matrices:
        assert member(element @ matrices).all(), "closure"
    if order > 2:
        broken = matrices[: order - 1]
        distance = np.abs((broken[:, None] @ broken[None])[:, :, None] - broken).max((3, 4))
        assert not (distance < 1e-12).any(2).all(), "the check sees a missing element"


def test_proper_groups_hold_rotations_only():
    for name, (group, _) in FINITE.items():
        determinants = np.linalg.det(group.elements.linear)
        proper = name[0] in "CTOI" and not name.endswith("h") or name.endswith("+")
        assert np.allclose(determinants, 1) == (proper or group.order == 1), name


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["T", "O", "SO", "E", "SE"])
def test_continuous_groups_draw_their_elements(name, dim):
    group = CONTINUOUS[name](dim)
    linear, shift = draws_of_all(dim)[name]
    np.testing.assert_allclose(
        linear @ linear.swapaxes(1, 2), np.tile(np.eye(dim), (64, 1, 1)), atol=1e-13
    )
    determinants = np.linalg.det(linear)
    if name in ("O", "E"):
        assert {-1, 1} == set(np.round(determinants).astype(int))
    else:
        np.testing.assert_allclose(determinants, 1, atol=1e-13)
    assert (np.abs(shift).max() > 0) == (name in ("T", "E", "SE"))
    assert group.compact == (name in ("O", "SO"))
    assert group.order is None


@pytest.mark.fast
@pytest.mark.parametrize("name", COMPACT)
def test_haar_moments(keys, name):
    count, dim = 20_000, 3
    group = COMPACT[name](dim)
    draws = jax.jit(jax.vmap(lambda key: group.draw(key, jnp.float64).linear))(
        jax.random.split(next(keys), count)
    )
    draws = np.asarray(draws)
    # Under Haar every entry is uniform on [-1, 1], so E[R_ij^p] = 1 / (p + 1) for even p; the
    # tolerance is five standard errors.
    for power, expected, variance in ((1, 0, 1 / 3), (2, 1 / 3, 4 / 45), (4, 1 / 5, 16 / 225)):
        error = np.sqrt(variance / count)
        np.testing.assert_allclose((draws**power).mean(0), expected, atol=5 * error)
    # QR alone is not Haar: LAPACK leaves the diagonal of R with fixed signs.
    gaussian = np.random.default_rng(0).normal(size=(count, dim, dim))
    assert np.abs(np.linalg.qr(gaussian)[0].mean(0)).max() > 0.1


@pytest.mark.parametrize("name,degree", [("T", 2), ("O", 3), ("I", 5)])
def test_polyhedral_groups_average_the_sphere_to_their_degree(name, degree):
    matrices = FINITE[name][0].elements.linear
    direction = np.array([0.3, -0.5, 0.9]) / np.linalg.norm([0.3, -0.5, 0.9])
    target = np.array([0.7, 0.2, -0.4]) / np.linalg.norm([0.7, 0.2, -0.4])
    cosines = (matrices @ direction) @ target

    def average(order):
        return np.polynomial.legendre.Legendre.basis(order)(cosines).mean()

    for order in range(1, degree + 1):
        assert abs(average(order)) < 1e-14
    assert any(abs(average(order)) > 1e-3 for order in range(degree + 1, degree + 3))


def test_finite_group_accepts_groups_and_refuses_others():
    quarter = np.array([[0.0, -1], [1, 0]])
    powers = np.stack([np.linalg.matrix_power(quarter, k) for k in range(4)])
    assert sf.groups.finite_group("mine", powers).order == 4
    with pytest.raises(ValueError, match="closed under products"):
        sf.groups.finite_group("mine", powers[:3])
    with pytest.raises(ValueError, match="start with the identity"):
        sf.groups.finite_group("mine", powers[1:])
    with pytest.raises(ValueError, match="orthogonal"):
        sf.groups.finite_group("mine", np.stack([np.eye(2), 2 * np.eye(2)]))
    with pytest.raises(ValueError, match="distinct"):
        sf.groups.finite_group("mine", np.stack([np.eye(2), np.eye(2)]))
    with pytest.raises(ValueError, match=r"shape \(order, dim, dim\), got \(2, 3\)"):
        sf.groups.finite_group("mine", np.ones((2, 3)))


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_groups_from_generators_are_those_of_the_library():
    mirror = np.diag([1.0, -1.0])
    generators = {
        "D6": [turn(np.pi / 3), mirror],
        "C7": [turn(6 * np.pi / 7)],
        "Oh": [np.eye(3)[[1, 2, 0]], np.eye(3)[[1, 0, 2]], np.diag([-1, 1, 1])],
        "permutations(4)+": [np.eye(4)[[1, 2, 0, 3]], np.eye(4)[[0, 2, 3, 1]]],
        "C1": np.eye(2)[None],
    }
    for name, matrices in generators.items():
        group, order = FINITE[name]
        made = sf.groups.from_generators("mine", matrices, max_order=order)
        assert made.order == order and made.name == "mine", name
        np.testing.assert_array_equal(made.elements.linear[0], np.eye(group.dim))
        distance = np.abs(made.elements.linear[:, None] - group.elements.linear).max((2, 3))
        assert ((distance < 1e-12).sum(axis=0) == 1).all(), name
        if order > 1:
            with pytest.raises(ValueError, match=f"more than max_order={order - 1} elements"):
                sf.groups.from_generators("mine", matrices, max_order=order - 1)
        assert sf.groups.finite_group("checked", made.elements.linear).order == order


@pytest.mark.parametrize(
    "generators,message",
    [
        ([turn(1.0)], "make more than max_order=1000 elements.*infinite"),
        ([turn(2 * np.pi / 5 + 1e-8)], r"differs from another by 5\.0e-08.*not exact"),
        ([np.eye(2), turn(2 * np.pi / 3).round(3)], r"orthogonal to 1e-09, got generators\[1\]"),
        ([np.full((2, 2), np.nan)], r"got generators\[0\], which differs by nan"),
        ([], r"one or more matrices of one shape \(dim, dim\), got shapes \[\]"),
        ([np.eye(2), np.eye(3)], r"got shapes \[\(2, 2\), \(3, 3\)\]"),
        (np.eye(2), r"got shapes \[\(2,\), \(2,\)\]"),
    ],
)
def test_generators_of_no_finite_group_are_refused(generators, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        sf.groups.from_generators("mine", generators)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="n must be a positive integer, got 0"):
        sf.cyclic(0)
    with pytest.raises(ValueError, match="dim must be a positive integer, got -1"):
        sf.orthogonal(-1)
    with pytest.raises(ValueError, match=r"group O\(3\) is infinite"):
        sf.orthogonal(3).cast(jnp.float32)


def test_draws_of_a_finite_group_are_uniform(keys):
    group = sf.cyclic(4)
    draw = jax.jit(jax.vmap(lambda key: group.draw(key, jnp.float64).linear))
    draws = np.asarray(draw(jax.random.split(next(keys), 4000)))
    counts = [(np.abs(draws - matrix).max((1, 2)) < 1e-9).sum() for matrix in group.elements.linear]
    assert sum(counts) == 4000
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(4000 * 3 / 16))
