"""Matrices that are a multiple of the identity but for tiny entries off the diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_frames.linalg import eigh


@pytest.mark.parametrize("quick", (True, False))
def test_the_rest_beside_a_multiple_of_the_identity_does_not_vanish(quick):
    """Whether the diagonal cancels to nothing depends on how a compiler rounds its mean."""
    sizes = np.float32([1e-20, 1.0, 3.0, 7e10, 1e30, 3e29, 7e33])
    ratios = np.float32([1e-7, 1e-10, 1e-13, 1e-16, 1e-20, 1e-30])
    off = np.ones((3, 3)) - np.eye(3)
    matrices = sizes[:, None, None, None] * (np.eye(3) + ratios[:, None, None] * off)
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", quick)
    try:
        values, vectors = jax.jit(jax.vmap(jax.vmap(eigh)))(jnp.asarray(matrices, jnp.float32))
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    np.testing.assert_allclose(values / sizes[:, None, None], 1, rtol=1e-6)
    identity = jnp.einsum("...ij,...ik->...jk", vectors, vectors)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-6)
