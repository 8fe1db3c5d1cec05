"""A potential of molecules with fixed random weights, for the tests of what only uses a potential."""

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import covalent_radii

import symjax_frames as sf
from experiments.errors import UsageError
from experiments.frame_room import no_need

ELEMENTS = np.array([1, 6, 7, 8])
_RADII = covalent_radii[np.array([0, *ELEMENTS])]
_WIDTH = 6


def pairs(positions, species):
    """Morse bonds between all atoms, which hold a molecule together; zero for padding."""
    dtype, count = positions.dtype, len(positions)
    real = (species > 0)[:, None] & (species > 0)[None] & ~np.eye(count, dtype=bool)
    arms = jnp.where(real[..., None], positions[:, None] - positions[None], 1)
    distances = jnp.sqrt(jnp.sum(arms**2, axis=-1))
    radii = jnp.asarray(_RADII, dtype)[species]
    stretch = 1 - jnp.exp(-1.5 * (distances - radii[:, None] - radii[None]))
    return jnp.sum(jnp.where(real, 2 * (stretch**2 - 1), 0)) / 2


def network(positions, species):
    """A smooth function with no symmetry but that of permutations; padding changes nothing."""
    dtype, generator = positions.dtype, np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(generator.normal(size=shape), dtype)

    features = jnp.tanh(positions @ draw(3, _WIDTH) + draw(5, _WIDTH)[species])
    pooled = jnp.sum(jnp.where((species > 0)[:, None], features, 0), axis=0)
    return jnp.tanh(pooled @ draw(_WIDTH, _WIDTH)) @ draw(_WIDTH)


def frame(positions, species):
    # Of generic molecules, where it is as exact as robust_frame and compiled in half the time.
    return sf.pca_frame(positions, species > 0)


averaged = sf.frame_average(
    network, frame, in_actions=(sf.points, None), out_actions=None, frame_argnums=(0, 1)
)


class TinyPotential:
    """Morse bonds, and the network if it is asked for; counts how often it is traced."""

    reach = None

    def __init__(self, *terms, offset=0.0):
        self.terms = (pairs, *terms)
        self.offset = offset
        self.traces = 0

    def energy(self, params):
        def energy(positions, species, graph=None):
            del graph  # All atoms see all others.
            self.traces += 1
            scale = jnp.asarray(params, positions.dtype)
            return scale * sum(term(positions, species) for term in self.terms)

        return energy

    def with_spreads(self, params):
        energies = jax.vmap(self.energy(params))
        return lambda *molecules: (energies(*molecules), {})

    def species_of(self, numbers):
        unknown = sorted(set(np.asarray(numbers).tolist()) - set(ELEMENTS.tolist()))
        if unknown:
            raise UsageError(f"element {unknown[0]} was not trained on; allowed: 1, 6, 7, 8")
        return np.searchsorted(ELEMENTS, numbers).astype(np.int32) + 1

    def reference(self, numbers):
        return self.offset - 13.6 * float(np.sum(np.asarray(numbers, float) ** 2))

    def determined(self, numbers):
        return True

    def neighbours(self, positions, species, *, capacity):
        del positions, capacity
        return (), jnp.zeros((), species.dtype)

    def room(self, positions, species):
        del species
        return no_need(positions.dtype)
