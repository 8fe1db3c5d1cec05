"""An equivariant network from the layers of e3x, to compare averaged ones with."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jaxtyping import Array, Float, Int

from experiments.errors import UsageError
from experiments.tasks.molecules.networks.basis import Graph, edge_vectors
from symjax_frames import nn


class E3xNetwork(nnx.Module):
    r"""Equivariant message passing as the documentation of e3x builds it for ethanol.

    Features $x_i$ have a part for every degree $l \le$ `degree`. Neighbours are summed over tensor
    products of their features with filters, which are Bernstein polynomials of the distance times
    spherical harmonics $Y_l$ of the direction; a gated network of two maps follows:
    $$m_i = \sum_j W b(r_{ij}) Y(r_{ij}) \otimes x_j, \qquad
      x_i \leftarrow x_i + \mathrm{MLP}(x_i + m_i)$$
    The last round keeps scalars alone, and of these and the species every output is linear.
    Pseudotensors are left out.

    Args:
      num_species: number of chemical elements.
      outputs: number of outputs of each atom, none of which any motion changes.
      hidden: number of features of every degree and order.
      layers: number of rounds of messages.
      cutoff: in Angstrom, beyond which atoms do not see each other.
      radial: number of functions of the distance.
      degree: of the spherical harmonics and of the features.
      rngs: where the parameters are drawn from.

    Raises:
      UsageError: e3x is not installed.

    References:
      Unke and Maennel, E3x: E(3)-Equivariant Deep Learning Made Easy, arXiv:2401.07595.
    """

    def __init__(
        self,
        num_species: int,
        outputs: int,
        *,
        hidden: int,
        layers: int,
        cutoff: float,
        radial: int,
        degree: int,
        rngs: nnx.Rngs,
    ):
        _e3x()
        self.module = _Layers(num_species, outputs, hidden, layers, cutoff, radial, degree)
        atoms = jnp.zeros((1, 3), jnp.float32), jnp.zeros(1, jnp.int32)
        graph = nn.CompleteGraph(jnp.ones(1, bool))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            params = self.module.init(rngs.params(), *atoms, graph)["params"]
        self.params = nnx.data(jax.tree.map(nnx.Param, params))

    def __call__(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        graph: Graph,
    ) -> Float[Array, "atoms outputs"]:
        """The outputs of each atom."""
        params = nnx.to_pure_dict(nnx.state(self.params))
        # e3x relies on both of these, whatever its caller has set.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return self.module.apply({"params": params}, positions, species, graph)


class _Layers(linen.Module):
    """The network as e3x has its layers, with parameters that are kept elsewhere."""

    num_species: int
    outputs: int
    hidden: int
    layers: int
    cutoff: float
    radial: int
    degree: int

    @linen.compact
    def __call__(self, positions: Array, species: Array, graph: Graph) -> Array:
        e3x, dtype = _e3x(), positions.dtype
        vectors = edge_vectors(positions, graph)
        seen = graph.edge_mask & (jnp.sum(vectors**2, axis=-1) > 0)
        # What is no edge is put out of sight, where nothing has a derivative.
        away = jnp.asarray([2 * self.cutoff, 0, 0], dtype)
        basis = e3x.nn.basis(
            jnp.where(seen[..., None], vectors, away),
            max_degree=self.degree,
            num=self.radial,
            radial_fn=e3x.nn.reciprocal_bernstein,
            cutoff_fn=functools.partial(e3x.nn.smooth_cutoff, cutoff=self.cutoff),
        ).astype(dtype)
        dense = functools.partial(e3x.nn.Dense, dtype=dtype)
        zeros = linen.initializers.zeros

        # Species count from one: the row of zero is that of padding.
        nodes = e3x.nn.Embed(self.num_species + 1, self.hidden, dtype=dtype)(species)
        for layer in range(self.layers):
            degree = 0 if layer == self.layers - 1 else self.degree
            messages = _MessagePass(degree)(nodes, basis, graph)
            if degree == 0:
                nodes = nodes[..., :1, :]
            update = e3x.nn.silu(dense(self.hidden)(e3x.nn.add(nodes, messages)))
            nodes = e3x.nn.add(nodes, dense(self.hidden, kernel_init=zeros)(update))

        shape = (self.num_species + 1, self.outputs)
        of_species = self.param("of_species", zeros, shape, jnp.float32).astype(dtype)
        readout = linen.Dense(self.outputs, use_bias=False, kernel_init=zeros, dtype=dtype)
        return readout(nodes[:, 0, 0]) + of_species[species]


class _MessagePass(linen.Module):
    """`e3x.nn.MessagePass` without pseudotensors: the same parameters and values, in half the time.

    It sums the products of filters and features over neighbours before it couples them to features
    of one degree, where e3x couples every pair of atoms.
    """

    max_degree: int

    @linen.compact
    def __call__(self, nodes: Array, basis: Array, graph: Graph) -> Array:
        e3x, dtype, features = _e3x(), nodes.dtype, nodes.shape[-1]
        filters = e3x.nn.Dense(features, use_bias=False, dtype=dtype, name="filter")(basis)
        filters, nodes = filters[..., 0, :, :], nodes[:, 0]
        if isinstance(graph, nn.CompleteGraph):
            products = jnp.einsum("ijlf,jmf->ilmf", filters, nodes)
        else:
            count, *parts = nodes.shape
            seen = graph.at_senders(nodes.reshape(count, -1))
            seen = seen.reshape(*seen.shape[:-1], 1, *parts)
            products = filters[..., :, None, :] * seen
            flat = products.reshape(*graph.edge_mask.shape, -1)
            products = graph.total(flat).reshape(count, *products.shape[-3:])

        degrees = (filters.shape[-2], nodes.shape[-2], (self.max_degree + 1) ** 2)
        degrees = tuple(round(size**0.5) - 1 for size in degrees)
        # Axes of length one stand for the parities, as in e3x.
        shape = [size for degree in degrees for size in (1, degree + 1)] + [features]
        draw = e3x.nn.initializers.tensor_lecun_normal()
        kernel = self.param("kernel", draw, tuple(shape), jnp.float32)
        kernel = kernel.astype(dtype).reshape(*shape[1::2], features)
        orders = [np.repeat(np.arange(d + 1), 2 * np.arange(d + 1) + 1) for d in degrees]
        # An odd sum of degrees makes a pseudotensor.
        coupling = np.where(sum(np.ix_(*orders)) % 2 == 0, _clebsch_gordan(*degrees), 0)
        weights = kernel[np.ix_(*orders)] * coupling[..., None].astype(dtype)
        return jnp.einsum("ilmf,lmnf->inf", products, weights)[:, None]


@functools.cache
def _clebsch_gordan(*degrees: int) -> np.ndarray:
    """The coefficients of e3x, which reads a large file for each call."""
    return np.asarray(_e3x().so3.clebsch_gordan(*degrees))


def _e3x() -> Any:
    try:
        import e3x
    except ImportError as error:
        raise UsageError(
            "backbone must be another than 'e3x' where the package e3x cannot be loaded, got 'e3x' "
            f"({error}); `pip install -e '.[e3x]'` installs it"
        ) from None
    return e3x
