"""Energies as sums over atoms, each averaged over the local frame of its surroundings."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

import symjax_frames as sf
from experiments.config.choices import Precision
from experiments.frame_room import Room
from experiments.tasks.molecules import spread
from experiments.tasks.molecules.choices import Targets
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.local_elements import (
    Atoms,
    drawn,
    frames_in_turn,
    frames_of,
    rows_at,
    side_by_side,
    with_a_weight,
)
from experiments.tasks.molecules.local_room import (
    options_of,
    refuse_local_overflows,
    room_of_atoms,
)
from experiments.tasks.molecules.networks.element_rounds import outputs_in_turn
from experiments.tasks.molecules.networks.neighbour_table import (
    EXACT,
    Elements,
    NeighbourTable,
    Surroundings,
)
from experiments.tasks.molecules.networks.neighbourhoods import outputs_of_clouds
from experiments.tasks.molecules.potential import EnergiesAndSpreads, Potential, Property

_Networks = Callable[[Atoms, Elements], Float[Array, "networks elements"]]


class LocalPotential(Potential):
    r"""A network for the surroundings of atoms, averaged over the local frame of each atom.

    Formula, with the elements $Q_{ik}$ and weights $w_{ik}$ of the frame of atom $i$, the vectors
    $r_{ij}$ to its neighbours and what these send, turned into that element:
    $$E = \sum_i \sum_k w_{ik}\, \phi(Q_{ik}^T r_{ij}, z_j, \ldots)$$

    So the energies of molecules that are far apart add up, a crystal has an energy, and the cost is
    in proportion to the number of atoms. The network passes messages between frames, as
    `NeighbourTable` describes, or all of them in the frame of one atom, as `outputs_of_clouds` does.

    The arguments are those of `Potential`.

    References:
      Lippmann et al., Beyond Canonicalization: How Tensorial Messages Improve Equivariant Message
      Passing, ICLR 2025, arXiv:2405.15389.
      Pozdnyakov and Ceriotti, Smooth, exact rotational symmetrization for deep learning on point
      clouds, NeurIPS 2023, arXiv:2305.19302.
    """

    def outputs(self, params: PyTree[Array]) -> _Networks:
        """The energies in eV that each network gives to elements of the frames of atoms."""
        backbone = self._merged(params).backbone

        def of_elements(atoms: Atoms, elements: Elements) -> Array:
            nodes_of = functools.partial(self._nodes, atoms)
            if self.config.messages == "in_one_frame":
                clouds_of = functools.partial(self._clouds, atoms)
                values = outputs_of_clouds(backbone, clouds_of, elements, *atoms.senders.shape)
            elif elements.atoms is None:
                table, species = nodes_of(elements)
                values = backbone(table.vectors[:, 0], species, table)
            else:
                values = outputs_in_turn(backbone, nodes_of, elements, *atoms.senders.shape)
            return jnp.asarray(self.facts.scale, values.dtype) * values[None, :, 0]

        return of_elements

    def energy(self, params: PyTree[Array]) -> Property:
        """The model as it is evaluated: averaged over whole frames."""
        energies = self.energies(params)

        def value(*molecule: Any) -> Float[Array, ""]:
            return energies(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], molecule))[0]

        return value

    def energies(self, params: PyTree[Array]) -> Property:
        """The same for a batch."""
        both = self.with_spreads(params)
        return lambda *batch: both(*batch)[0]

    def with_spreads(self, params: PyTree[Array]) -> EnergiesAndSpreads:
        """The same, and how far to trust the energies, by the names in `spread`."""
        networks = self.outputs(params)

        def value(
            positions: Array, species: Array, surroundings: Surroundings | None = None
        ) -> tuple[Array, dict[str, Array]]:
            atoms = side_by_side(positions, species, surroundings)
            values, variances = self._whole(networks, atoms)
            values = jnp.sum(values.reshape(-1, *species.shape), axis=-1)
            variances = jax.lax.stop_gradient(variances)
            # Elements of different atoms have nothing to do with each other.
            total = jnp.sum(variances.reshape(species.shape), axis=-1)
            spreads = {spread.FRAME: jnp.sqrt(total)}
            if len(values) > 1:
                deviation = jnp.std(jax.lax.stop_gradient(values), axis=0, ddof=1)
                spreads[spread.ENERGY] = deviation
            return jnp.mean(values, axis=0), spreads

        return value

    def trained(self, params: PyTree[Array]) -> Property:
        """The model as it is trained, a function of `(key, positions, species, surroundings)`."""
        of_batch = self.trained_batch(params)

        def value(*drawn_and_molecule: Any) -> Float[Array, ""]:
            return of_batch(*jax.tree.map(lambda leaf: leaf[None], drawn_and_molecule))[0]

        return value

    def trained_batch(self, params: PyTree[Array]) -> Property:
        """The same of a batch, with a key for each example.

        Elements are drawn for each atom on its own, with weights that count as constants.
        """
        networks, samples = self.outputs(params), self.config.num_samples
        whole = self.energies(params)

        def value(
            keys: Key[Array, " molecules"],
            positions: Array,
            species: Array,
            surroundings: Surroundings | None = None,
        ) -> Float[Array, " molecules"]:
            if self.config.training_average == "full":
                return whole(positions, species, surroundings)
            atoms = side_by_side(positions, species, surroundings)
            draw = functools.partial(jax.random.uniform, shape=species.shape[1:])
            numbers = jax.vmap(lambda key: draw(key, dtype=positions.dtype))(keys)
            elements = drawn(self.frame_of(atoms), numbers.reshape(-1), samples)
            values = jnp.mean(networks(atoms, elements), axis=0)
            values = jnp.where(jnp.repeat(atoms.species > 0, samples), values, 0)
            return jnp.sum(values.reshape(len(species), -1), axis=1) / samples

        return value

    def committee(self) -> Potential:
        """The mean of such potentials, which differ by their parameters."""
        return LocalCommittee(*self._made_of)

    def room(
        self, positions: Array, species: Array, surroundings: Surroundings | None = None
    ) -> Room:
        """What the frames of a molecule have no room for, and would need; of the worst atom."""
        options = options_of(self.config)
        return room_of_atoms(positions, species, surroundings, self.config.cutoff, **options)

    def refuse_overflows(self, label: Callable[[int], str], *molecules: Any) -> None:
        """Raises a `UsageError` if the frame of an atom has no room, by `local_room`."""
        refuse_local_overflows(self.config, label, *molecules)

    def frame_of(self, atoms: Atoms) -> sf.Frame:
        """The local frame of each atom; padding has no elements of any weight."""
        frames = functools.partial(frames_of, cutoff=self.config.cutoff, **options_of(self.config))
        frame = frames_in_turn(frames, atoms.vectors)
        return frame._replace(weights=jnp.where(atoms.species[None] > 0, frame.weights, 0))

    def _nodes(self, atoms: Atoms, elements: Elements) -> tuple[NeighbourTable, Array]:
        """Elements as the nodes of a graph, and the species of their atoms."""
        vectors, senders, species = atoms
        if elements.atoms is not None:
            vectors, senders, species = (rows_at(leaf, elements.atoms) for leaf in atoms)
        vectors = jnp.einsum("nsa,nab->nsb", vectors, elements.axes, precision=EXACT)
        config, count = self.config, atoms.species.shape[0]
        table = NeighbourTable(
            *(vectors, senders, species > 0, count, config.cutoff, elements, config.vectors)
        )
        return table, species

    def _clouds(
        self, atoms: Atoms, elements: Elements
    ) -> tuple[NeighbourTable, Int[Array, "nodes cloud"]]:
        """The same, and the species of the atoms and of their neighbours, 0 for padding."""
        table, species = self._nodes(atoms, elements)
        neighbours = jnp.where(table.edge_mask, atoms.species[table.senders], 0)
        return table, jnp.concatenate([species[:, None], neighbours], axis=1)

    def _whole(
        self, networks: _Networks, atoms: Atoms
    ) -> tuple[Float[Array, "networks atoms"], Float[Array, " atoms"]]:
        """The energy of each atom averaged over its frame, and the variance of the mean network."""
        frame = self.frame_of(atoms)
        count = atoms.species.shape[0]
        elements = with_a_weight(frame)
        values, of_element = networks(atoms, elements), elements.atoms
        assert of_element is not None

        def averaged(values: Float[Array, " elements"]) -> Float[Array, " atoms"]:
            terms = elements.weights * values
            return jax.ops.segment_sum(terms, of_element, count, indices_are_sorted=True)

        means = jax.vmap(averaged)(values)
        away = jnp.mean(values, axis=0) - rows_at(jnp.mean(means, axis=0), of_element)
        return means, averaged(away**2)


class LocalCommittee(LocalPotential):
    """The mean of local potentials that differ by their seeds, with one frame of each atom for all.

    Its parameters are those of the networks with a leading axis `seed`.
    """

    def outputs(self, params: PyTree[Array]) -> _Networks:
        """The energies in eV that each network gives to elements of the frames of atoms."""
        of_one = super().outputs

        def of_elements(atoms: Atoms, elements: Elements) -> Array:
            return jax.vmap(lambda params: of_one(params)(atoms, elements)[0])(params)

        return of_elements

    def one(self) -> Potential:
        """The potential that each of the networks is, of the parameters of one."""
        return LocalPotential(*self._made_of)


def make_potential(
    config: MoleculesModelConfig,
    facts: MoleculeFacts,
    targets: Targets,
    precision: Precision = "float32",
) -> Potential:
    """The potential that a configuration asks for; the arguments are those of `Potential`."""
    kind = LocalPotential if config.frame == "local" else Potential
    return kind(config, facts, targets, precision)
