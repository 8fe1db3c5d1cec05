"""Quadrature over the rotations of the plane and of space: whole-group averages by a finite sum."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_frames._checks import is_integer
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.groups._finite import (
    cyclic,
    dihedral,
    icosahedral,
    octahedral,
    signs,
    tetrahedral,
)
from symjax_frames.groups._group import Group, check_group, make_finite
from symjax_frames.groups._sphere import sphere_rule


class QuadratureRule(Frame):
    """A constant frame: elements and weights that depend on no input, as `quadrature` makes them.

    The averages take it where they take a function that returns a frame.
    """


def quadrature(group: Group, degree: int, dtype: Any = None) -> QuadratureRule:
    r"""Elements and weights whose sum is the Haar integral, exactly, up to a degree.

    Formula: for every matrix element of the irreducible representations $D^l$, $l \le L$,
    $$\sum_k w_k D^l(g_k) = \int_G D^l(g)\, dg$$
    which is 0 for all but the trivial one, with $w_k > 0$ and $\sum_k w_k = 1$. The rules are, each
    time the one with the fewest elements:

    * SO(3): the identity ($L = 0$), the half turns about the axes (1), the tetrahedral (2),
      octahedral (3) and icosahedral (5) rotations; beyond, a rule of degree $L$ on the sphere,
      Lebedev's or Gauss-Legendre, times $L + 1$ equispaced turns about its points. $L$ turns would
      not be enough.
    * O(3): these and their negatives, so that both parities of every $D^l$ are integrated.
    * SO(2): the cyclic group of $L + 1$ turns. O(2): the dihedral group.

    A function that is a polynomial of degree $p$ in coordinates which rotate, and whose output has
    $r$ indices which rotate, is averaged exactly by degree $L = p + r$. For any other function the
    error comes from its components beyond $L$ alone.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> rule = sf.quadrature(sf.special_orthogonal(3), 5)
      >>> rule.weights.shape, sf.groups.degree_of(rule)
      ((60,), 5)
      >>> invariant = sf.frame_average(
      ...     lambda x: x[0, 0] ** 4, rule, in_actions=sf.vectors, out_actions=None
      ... )
      >>> bool(jnp.isclose(invariant(jnp.array([[0.0, 3.0, 4.0]])), 5.0**4 / 5))
      True

      Centring around it makes an average over E(3):

      >>> from functools import partial
      >>> rule = sf.quadrature(sf.orthogonal(3), 3)
      >>> turned = sf.frame_average(
      ...     lambda x: x**2, rule, in_actions=sf.vectors, out_actions=sf.vectors
      ... )
      >>> equivariant = sf.frame_average(
      ...     turned, partial(sf.pca_frame, group="T"), in_actions=sf.points, out_actions=sf.points
      ... )
      >>> jax.jit(equivariant)(jnp.ones((4, 3))).shape
      (4, 3)

    Args:
      group: `special_orthogonal` or `orthogonal` of 2 or 3 dimensions.
      degree: the degree $L$, at least 0.
      dtype: the floating dtype of the frame, that of the data it is to move; `float` by default.

    Returns:
      A constant frame, with zero shifts, for any of the three averages.

    Raises:
      ValueError: if the group is another, `degree` is no integer of at least 0, or `dtype` is not
        floating.

    References:
      Gräf and Potts, Sampling sets and quadrature formulae on the rotation group, Numerical
      Functional Analysis and Optimization 30, 2009, 665-688.
      Lebedev and Laikov, A quadrature formula for the sphere of the 131st algebraic order of
      accuracy, Doklady Mathematics 59, 1999, 477-481.
    """
    check_group("group", group)
    if group.name not in _RULES:
        if group.elements is None:
            advice = (
                "for E or SE center the data: average over pca_frame with group='T' around the "
                "average over the rule"
            )
        else:
            advice = "use group_average for a finite group"
        raise ValueError(f"group must be one of {', '.join(_RULES)}, got {group.name}; {advice}")
    degree = check_degree("degree", degree)
    dtype = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating, got {dtype}")
    linear, weights = _rule(group.name, degree)
    shift = jnp.zeros(linear.shape[:2], dtype)
    return QuadratureRule(Isometry(jnp.asarray(linear, dtype), shift), jnp.asarray(weights, dtype))


def check_degree(name: str, degree: int) -> int:
    """The integer of Python, from one of NumPy too; raises unless it is at least 0."""
    if not is_integer(degree) or degree < 0:
        raise ValueError(f"{name} must be an integer of at least 0, got {degree!r}")
    return int(degree)


class _Rule(NamedTuple):
    linear: np.ndarray
    weights: np.ndarray


@functools.cache
def _rule(name: str, degree: int) -> _Rule:
    rule = _RULES[name](degree)
    # Rules are cached and shared: nobody may change them.
    for leaf in rule:
        leaf.setflags(write=False)
    return rule


def _rotations(degree: int) -> _Rule:
    """The rule for SO(3) of the fewest elements."""
    rules = [_uniform(make()) for exact, make in _POLYHEDRAL.items() if exact >= degree]
    return min([*rules, _product(degree)], key=lambda rule: len(rule.weights))


def _product(degree: int) -> _Rule:
    """A rule on the sphere times equispaced turns about its points, `R_z(a) R_y(b) R_z(c)`.

    The turns leave the matrix elements `D^l_m0`, which are spherical harmonics of `(a, b)`.
    """
    points, weights = sphere_rule(degree)
    x, y, height = points.T
    radius = np.hypot(x, y)
    # Any longitude will do at a pole.
    pole = radius == 0
    cos, sin = np.where(pole, 1, x) / np.where(pole, 1, radius), y / np.where(pole, 1, radius)
    to_point = np.array(
        [
            [cos * height, -sin, x],
            [sin * height, cos, y],
            [-radius, np.zeros_like(x), height],
        ]
    ).transpose(2, 0, 1)
    turns = np.tile(np.eye(3), (degree + 1, 1, 1))
    turns[:, :2, :2] = cyclic(degree + 1).elements.linear  # type: ignore[union-attr]
    elements = to_point[:, None] @ turns[None]
    return _Rule(elements.reshape(-1, 3, 3), np.repeat(weights / (degree + 1), degree + 1))


def _uniform(group: Group) -> _Rule:
    linear = np.array(group.elements.linear)  # type: ignore[union-attr]
    return _Rule(linear, np.full(len(linear), 1 / len(linear)))


def _with_negatives(rule: _Rule) -> _Rule:
    linear, weights = rule
    return _Rule(np.concatenate([linear, -linear]), np.concatenate([weights, weights]) / 2)


_POLYHEDRAL: dict[int, Callable[[], Group]] = {
    0: lambda: make_finite("1", np.eye(3)[None]),
    1: lambda: signs(3, proper=True),
    2: tetrahedral,
    3: octahedral,
    5: icosahedral,
}
_RULES: dict[str, Callable[[int], _Rule]] = {
    "SO(2)": lambda degree: _uniform(cyclic(degree + 1)),
    "O(2)": lambda degree: _uniform(dihedral(degree + 1)),
    "SO(3)": _rotations,
    "O(3)": lambda degree: _with_negatives(_rotations(degree)),
}
