"""The degree to which a set of weighted elements integrates over rotations."""

import jax.numpy as jnp
import numpy as np

from symjax_frames._checks import describe
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.groups._quadrature import check_degree

_PROBES = 64
_CHUNK = 4096


def degree_of(rule: Frame, max_degree: int = 32) -> int:
    r"""The degree up to which a constant frame of two or three dimensions is a quadrature rule.

    Formula: the largest $L$ with $\sum_k w_k D^l(g_k) = 0$ for $1 \le l \le L$, up to rounding. If
    some $g_k$ are improper, it has to hold for both parities of $D^l$, and for the determinant, the
    odd parity of $l = 0$. In the plane $D^l$ is the turn by $l$ times the angle.

    The sum vanishes if and only if $\sum_k w_k \chi_l(h^{-1} g_k)$ does for all $h$, with the
    character $\chi_l$. This is evaluated at 64 fixed random $h$, and the root mean square is
    compared with $8 (l + 1)$ machine epsilons of the rule's dtype. A smaller error of the rule,
    relative to the largest possible one, is not seen.

    Example:
      >>> import symjax_frames as sf
      >>> rule = sf.quadrature(sf.orthogonal(3), 8)
      >>> rule.weights.shape, sf.groups.degree_of(rule)
      ((684,), 8)

    Args:
      rule: the frame, of concrete arrays: not within `jax.jit`. Shifts do not matter, and neither
        does one rotation of all elements: the PCA frame for SE of any cloud has degree 1.
      max_degree: where to stop.

    Returns:
      The degree. It is `max_degree` if the rule is exact that far and perhaps beyond, and -1 if not
      even the determinant is averaged to zero.

    Raises:
      ValueError: if `rule` is no frame of one set of two- or three-dimensional elements, of 32 or
        64 bits, or `max_degree` no integer of at least 0.
    """
    linear, weights, rounding = _arrays(rule)
    max_degree = check_degree("max_degree", max_degree)
    improper = np.linalg.det(linear) < 0
    halves = np.stack([weights * ~improper, weights * improper], axis=-1)
    # Both parities vanish if and only if the sums over proper and over improper elements vanish.
    if improper.any() and abs(halves[:, 0].sum() - halves[:, 1].sum()) > 8 * rounding:
        return -1
    coordinates = _plane(linear) if linear.shape[-1] == 2 else _quaternions(linear)
    sums = _character_sums(coordinates, halves, max_degree)
    errors = np.sqrt((sums**2).mean(axis=1).max(axis=-1))
    wrong = errors[1:] > 8 * rounding * np.arange(2, max_degree + 2)
    return int(wrong.argmax()) if wrong.any() else max_degree


def _arrays(rule: Frame) -> tuple[np.ndarray, np.ndarray, float]:
    if not isinstance(rule, Frame) or not isinstance(rule.elements, Isometry):
        raise ValueError(
            "rule must be a Frame of Isometry elements, such as quadrature(orthogonal(3), 5), got "
            f"{describe(rule)}"
        )
    linear, weights = rule.elements.linear, rule.weights
    if linear.shape not in [(*weights.shape, dim, dim) for dim in (2, 3)] or weights.ndim != 1:
        raise ValueError(
            "rule must be one set of elements of two or three dimensions, got matrices of shape "
            f"{linear.shape} with weights of shape {weights.shape}"
        )
    for leaf in (linear, weights):
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or jnp.finfo(leaf.dtype).bits < 32:
            # Rounding to 16 bits is as large as what a rule of another degree leaves.
            raise ValueError(f"rule must be floating, of at least 32 bits, got {leaf.dtype}")
    rounding = max(float(jnp.finfo(leaf.dtype).eps) for leaf in (linear, weights))
    return np.asarray(linear, np.float64), np.asarray(weights, np.float64), rounding


def _plane(linear: np.ndarray) -> np.ndarray:
    """The unit vector at the angle of each element of O(2)."""
    return linear[:, :, 0] / np.linalg.norm(linear[:, :, 0], axis=-1, keepdims=True)


def _quaternions(linear: np.ndarray) -> np.ndarray:
    """A unit quaternion for the rotation `det(R) R` of each element of O(3).

    Normalised, so that a matrix which is orthogonal but for the rounding of float32 is a rotation.
    """
    (a, b, c), (d, e, f), (g, h, i) = np.moveaxis(
        linear * np.linalg.det(linear)[:, None, None], 0, -1
    )
    products = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    # Four times the products of its components. The row of the largest one has no cancellation.
    rows = products.diagonal().argmax(axis=-1)
    chosen = products[rows, :, np.arange(len(linear))]
    return chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)


def _character_sums(coordinates: np.ndarray, halves: np.ndarray, max_degree: int) -> np.ndarray:
    """`sum_k w_k chi_l(h^-1 g_k)` of shape `(max_degree + 1, probes, halves)`."""
    plane = coordinates.shape[1] == 2
    probes = np.random.default_rng(0).normal(size=(_PROBES, coordinates.shape[1]))
    probes /= np.linalg.norm(probes, axis=-1, keepdims=True)
    sums = np.zeros((max_degree + 1, _PROBES, halves.shape[1]))
    for start in range(0, len(coordinates), _CHUNK):
        part = slice(start, start + _CHUNK)
        cosine = probes @ coordinates[part].T
        if not plane:
            cosine = 2 * cosine**2 - 1
        # chi_l is 2 cos(l angle) in the plane and 1 + 2 cos(angle) + ... + 2 cos(l angle) in space.
        before, now, character = cosine, np.ones_like(cosine), np.ones_like(cosine)
        sums[0] += character @ halves[part]
        for degree in range(1, max_degree + 1):
            before, now = now, 2 * cosine * now - before
            character = 2 * now if plane else character + 2 * now
            sums[degree] += character @ halves[part]
    return sums
