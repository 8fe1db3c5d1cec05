"""Finite groups of isometries: in the plane, in space, and the sign and permutation matrices."""

import functools
import itertools

import numpy as np

from symjax_frames._checks import check_positive
from symjax_frames.groups._generated import exact, generate
from symjax_frames.groups._group import Group, make_finite


def _rotations(n: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(n) / n
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


@functools.cache
def cyclic(n: int) -> Group:
    """C_n: the `n` rotations of the plane by multiples of `2 pi / n` radians."""
    n = check_positive("n", n)
    return make_finite(f"C{n}", exact(_rotations(n)))


@functools.cache
def dihedral(n: int) -> Group:
    """D_n: the `2 n` symmetries of the regular n-gon, C_n first, then C_n times `y -> -y`."""
    n = check_positive("n", n)
    turns = _rotations(n)
    return make_finite(f"D{n}", exact(np.concatenate([turns, turns @ np.diag([1.0, -1.0])])))


def _with_inversion(name: str, rotations: np.ndarray, inversion: bool) -> Group:
    if inversion:
        return make_finite(f"{name}h", np.concatenate([rotations, -rotations]))
    return make_finite(name, rotations)


_CYCLE = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # x -> y -> z -> x
_HALF_TURN = np.diag([1.0, -1.0, -1.0])
_QUARTER_TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@functools.cache
def tetrahedral(*, inversion: bool = False) -> Group:
    """T: the 12 rotations of the tetrahedron; with `inversion` the 24 elements of T_h.

    The two-fold axes are the coordinate axes. Averages SO(3) exactly up to degree 2.
    """
    return _with_inversion("T", generate("T", [_CYCLE, _HALF_TURN], 12), inversion)


@functools.cache
def octahedral(*, inversion: bool = False) -> Group:
    """O: the 24 rotations of the cube; with `inversion` the 48 elements of O_h.

    O_h are the signed permutations of the axes. Averages SO(3) exactly up to degree 3.
    """
    return _with_inversion("O", generate("O", [_CYCLE, _QUARTER_TURN], 24), inversion)


@functools.cache
def icosahedral(*, inversion: bool = False) -> Group:
    """I: the 60 rotations of the icosahedron; with `inversion` the 120 elements of I_h.

    Three of the two-fold axes are the coordinate axes. Averages SO(3) exactly up to degree 5.
    """
    golden = (1 + np.sqrt(5)) / 2
    axis = np.array([0.0, 1.0, golden]) / np.sqrt(1 + golden**2)
    cross = np.cross(np.eye(3), axis)  # rows e_i x axis: minus the matrix of axis x
    angle = 2 * np.pi / 5
    fifth_turn = (
        np.cos(angle) * np.eye(3)
        - np.sin(angle) * cross
        + (1 - np.cos(angle)) * np.outer(axis, axis)
    )
    return _with_inversion("I", generate("I", [_CYCLE, _HALF_TURN, fifth_turn], 60), inversion)


def _sign_matrices(dim: int) -> np.ndarray:
    """The rotations among them, each followed by its product with a reflection of the last axis.

    So elements at equal distances in the list are those of a coset of rotations, as long as there
    are no more than half of all: what an average over them leaves of low degree is least.
    """
    others = np.array(list(itertools.product((1.0, -1.0), repeat=dim - 1)))
    last = others.prod(axis=1, keepdims=True)
    rows = np.concatenate([others, last, others, -last], axis=1).reshape(-1, dim)
    return rows[:, :, None] * np.eye(dim)


def _proper(matrices: np.ndarray, proper: bool) -> np.ndarray:
    return matrices[np.linalg.det(matrices) > 0] if proper else matrices


@functools.cache
def signs(dim: int, *, proper: bool = False) -> Group:
    """{+-1}^dim: the `2^dim` diagonal sign matrices; with `proper` the `2^(dim-1)` rotations."""
    dim = check_positive("dim", dim)
    name = f"signs({dim})" + ("+" if proper else "")
    return make_finite(name, _proper(_sign_matrices(dim), proper))


@functools.cache
def inversion(dim: int) -> Group:
    """The two elements `x -> x` and `x -> -x`."""
    dim = check_positive("dim", dim)
    return make_finite(f"inversion({dim})", np.stack([np.eye(dim), -np.eye(dim)]))


@functools.cache
def permutations(dim: int, *, proper: bool = False) -> Group:
    """S_dim: the `dim!` permutations of the axes; with `proper` the even ones."""
    dim = check_positive("dim", dim)
    orders = np.array(list(itertools.permutations(range(dim))))
    matrices = np.eye(dim)[orders]
    name = f"permutations({dim})" + ("+" if proper else "")
    return make_finite(name, _proper(matrices, proper))


@functools.cache
def signed_permutations(dim: int, *, proper: bool = False) -> Group:
    """The `2^dim dim!` symmetries of the hypercube; with `proper` the rotations among them."""
    dim = check_positive("dim", dim)
    flips, orders = _sign_matrices(dim), permutations(dim).elements.linear  # type: ignore[union-attr]
    matrices = np.einsum("aij,bjk->abik", flips, orders).reshape(-1, dim, dim)
    name = f"signed_permutations({dim})" + ("+" if proper else "")
    return make_finite(name, _proper(matrices, proper))
