"""How much of an output changes in each degree, or irreducible representation, of the rotations."""

import jax.numpy as jnp
import numpy as np

from symjax_frames.groups import quadrature, special_orthogonal
from symjax_frames.testing._audit.subject import Subject


class DegreeRule:
    r"""A quadrature rule over the rotations that separates the degrees of a function.

    Formula: a function of rotations has the energy
    $$E_l = d_l \iint f(R)\, \chi_l(R^{-1} S)\, f(S)\, dR\, dS$$
    in degree $l$, with the character $\chi_l$ and $d_l = 2 l + 1$ in space; in the plane the
    angular frequencies $l$ and $-l$ are one degree, $d_l \chi_l = 2 \cos(l\, \omega)$. All energies
    add up to $\int f^2$ (Peter and Weyl). The rule integrates products of two functions of degree
    $L + 1$; of degrees far beyond, some leaks into lower ones.

    Args:
      dim: 2 or 3.
      max_degree: the highest degree $L$ that is told apart.
    """

    def __init__(self, dim: int, max_degree: int):
        # Twice the degree is enough for functions without higher degrees. A rule of a higher one
        # keeps these from showing up in the lower degrees; in the plane it costs little.
        exact = 4 * max_degree if dim == 2 else 2 * max_degree + 2
        rule = quadrature(special_orthogonal(dim), exact, jnp.result_type(float))
        self.linear = np.asarray(rule.elements.linear, np.float64)
        self.weights = np.asarray(rule.weights, np.float64)
        flat = self.linear.reshape(len(self.linear), -1)
        trace = flat @ flat.T
        angle = np.arccos(np.clip((trace - (dim - 2)) / 2, -1, 1))
        waves = 2 * np.cos(np.arange(1, max_degree + 1)[:, None, None] * angle)
        one = np.ones((1, *angle.shape))
        if dim == 2:
            self.kernels = np.concatenate([one, waves])
        else:
            sizes = 2 * np.arange(max_degree + 1) + 1
            characters = 1 + np.cumsum(np.concatenate([0 * one, waves]), axis=0)
            self.kernels = sizes[:, None, None] * characters

    def parts(self, subject: Subject) -> tuple[float, ...]:
        r"""The parts of the energy of $R \mapsto \rho_{out}(R)^{-1} \phi(\rho_{in}(R) x)$.

        Degree 0 is the equivariant part; an equivariant function has no other.

        Returns:
          The part of each degree, and last of all higher degrees. They add up to one, or to zero
          where the output vanishes up to rounding.
        """
        shift = subject.centre - self.linear @ subject.centre
        leaves = subject.values(linear=self.linear, shift=shift)
        f = np.concatenate(
            [leaf / size for leaf, size in zip(leaves, subject.sizes, strict=True)], 1
        )
        if not np.all(np.isfinite(f)):
            return (float("nan"),) * (len(self.kernels) + 1)
        mean = self.weights @ f
        # Without the mean, which rounding errors of the weights would multiply.
        rest = (f - mean) * self.weights[:, None]
        overlaps = rest @ rest.T
        energies = [float(mean @ mean)]
        energies += [max(0.0, float(np.sum(kernel * overlaps))) for kernel in self.kernels[1:]]
        varying = float(self.weights @ np.sum((f - mean) ** 2, axis=1))
        higher = max(0.0, varying - sum(energies[1:]))
        total = max(sum(energies) + higher, subject.rounding)
        return tuple(energy / total for energy in (*energies, higher))
