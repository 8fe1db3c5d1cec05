"""From the model section of a configuration to the energy of a molecule and its averages."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

import symjax_frames as sf
from experiments import symmetrize
from experiments.config.choices import Precision
from experiments.frame_room import Room, no_need, refuse_overflows, room_of
from experiments.precision import rounded
from experiments.tasks.molecules import spread
from experiments.tasks.molecules.choices import Targets
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.energies import with_gradient
from experiments.tasks.molecules.networks.basis import Graph
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.networks.neighbours import nearest_neighbours
from experiments.tasks.molecules.networks.network import Network
from experiments.tasks.molecules.quantities import QUANTITIES
from symjax_frames import nn

Property = Callable[..., Array]
"""`(positions, species, graph=None)` to an energy (eV), a dipole (e*Angstrom), a polarizability."""

EnergiesAndSpreads = Callable[..., tuple[Float[Array, " molecules"], dict[str, Array]]]
"""As `Property` for a batch, with numbers that describe each energy, by their names."""


class Potential:
    """A network for molecules and its averages, as pure functions of the parameters.

    Args:
      config: the model section of a configuration.
      facts: what the training set says: the elements, their energies, and a scale.
      targets: what is learnt: energies, with or without forces, dipoles or polarizabilities.
      precision: what the network computes in, from the features of the edges on.

    Raises:
      ValueError: if the backbone cannot be built as configured.
      UsageError: if its package is not installed.
    """

    def __init__(
        self,
        config: MoleculesModelConfig,
        facts: MoleculeFacts,
        targets: Targets,
        precision: Precision = "float32",
    ):
        if targets not in get_args(Targets):
            raise ValueError(
                f"targets must be one of {', '.join(get_args(Targets))}, got {targets!r}"
            )
        self.config = config
        self.facts = facts
        self.targets = targets
        self.precision = precision
        # Of what the network returns: an energy, of which forces are the gradient.
        returned = "energy" if targets == "energy_forces" else targets
        self._action = QUANTITIES[returned].action
        self._graph = nnx.graphdef(nnx.eval_shape(lambda: self._network(nnx.Rngs(0))))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """What it is pickled as: what it is made of. The functions in a network cannot be."""
        return type(self), self._made_of

    @property
    def _made_of(self) -> tuple[MoleculesModelConfig, MoleculeFacts, Targets, Precision]:
        return self.config, self.facts, self.targets, self.precision

    def _network(self, rngs: nnx.Rngs) -> Network:
        return Network(self.config, len(self.facts.elements), self.targets, rngs=rngs)

    def _merged(self, params: PyTree[Array]) -> Network:
        """The network with these parameters, rounded to the precision that it computes in."""
        return nnx.merge(self._graph, nnx.State(rounded(self.precision, params)))

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        return nnx.to_pure_dict(nnx.state(self._network(nnx.Rngs(key))))

    @property
    def reach(self) -> float | None:
        """How far an atom sees in Angstrom, of an energy that takes `Surroundings`."""
        local = self.config.frame in ("local", "none") and self.config.backbone != "point_sum"
        return self.config.cutoff if local else None

    def species_of(self, numbers: Sequence[int] | Int[np.ndarray, " atoms"]) -> np.ndarray:
        """As `MoleculeFacts.species_of`."""
        return self.facts.species_of(numbers)

    def reference(self, numbers: Sequence[int] | Int[np.ndarray, " atoms"]) -> float:
        """As `MoleculeFacts.reference`."""
        return self.facts.reference(numbers)

    def determined(self, numbers: Sequence[int] | Int[np.ndarray, " atoms"]) -> bool:
        """As `MoleculeFacts.determined`."""
        return self.facts.determined(numbers)

    def neighbours(
        self, positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"], *, capacity: int
    ) -> tuple[Graph, Int[Array, ""]]:
        """The graph that `energy` takes, as `nearest_neighbours` makes it."""
        if self.config.backbone == "point_sum":
            # It sees all atoms, through a sum, and no edges.
            capacity = len(species)
        return nearest_neighbours(positions, species, cutoff=self.config.cutoff, capacity=capacity)

    def bare(self, params: PyTree[Array]) -> Property:
        """The network as it is, without any average, in eV, e*Angstrom or Angstrom^3."""
        network = self._merged(params)

        def value(
            positions: Array, species: Array, graph: Graph | Surroundings | None = None
        ) -> Array:
            match graph:
                case None:
                    graph = nn.CompleteGraph(species > 0)
                case Surroundings():
                    graph = graph.table(positions, species, self.config.cutoff)
            scale = jnp.asarray(self.facts.scale, positions.dtype)
            return scale * network(positions, species, graph)

        return value

    def energy(self, params: PyTree[Array]) -> Property:
        """The model as it is evaluated: averaged over the whole frame."""
        bare = self.bare(params)
        return _graph_or_none(
            symmetrize.evaluated(bare, self.config, self.frame, **self._actions())
        )

    def energies(self, params: PyTree[Array]) -> Property:
        """The same as `energy` for a batch, by a faster program.

        For robust frames it evaluates only the elements that have a weight. Under `jax.vmap` over
        positions it would evaluate all, and in turn.
        """
        bare = self.bare(params)
        return _graph_or_none(
            symmetrize.evaluated_batch(bare, self.config, self.frame, **self._actions())
        )

    def networks(self, params: PyTree[Array]) -> Property:
        """What each network says, without any average: here one, of the axis `networks`."""
        bare = self.bare(params)
        return lambda *molecule: bare(*molecule)[None]

    def with_spreads(self, params: PyTree[Array]) -> EnergiesAndSpreads:
        """The same as `energies`, and how far to trust them, by the names in `spread`.

        All elements of a frame show the network the same molecule in another orientation. One that
        has learnt to be invariant gives them one energy, and what it says of a molecule unlike all
        that it has seen spreads. So do the networks of a committee.
        """
        networks = self.networks(params)

        def both(*molecule: Any) -> tuple[Array, Array]:
            values = networks(*molecule)
            return jnp.mean(values), values

        framed = self.config.frame != "none"
        options = self._actions() | ({"with_variance": True} if framed else {})
        average = symmetrize.evaluated_batch(both, self.config, self.frame, **options)

        def value(
            positions: Array, species: Array, graph: Graph | None = None
        ) -> tuple[Array, dict[str, Array]]:
            found = average(positions, species, graph)
            (energies, values), variances = found if framed else (found, None)
            # They are for people to read: the root of zero has no derivative.
            variances, values = jax.lax.stop_gradient((variances, values))
            spreads = {}
            if variances is not None:
                spreads[spread.FRAME] = jnp.sqrt(variances[0])
            if values.shape[1] > 1:
                spreads[spread.ENERGY] = jnp.std(values, axis=1, ddof=1)
            return energies, spreads

        return value

    def trained(self, params: PyTree[Array]) -> Property:
        """The model as it is trained, a function of `(key, positions, species, graph=None)`.

        The weights of the elements that are drawn from are constants: every element is to have the
        energy of the molecule, and where all agree, the derivatives of the weights add up to
        nothing. With them each draw would be unbiased, and its forces mostly noise.
        """
        model = symmetrize.trained(
            self.bare(params), self.config, self.frame, constant_weights=True, **self._actions()
        )

        def value(
            key: Key[Array, ""], positions: Array, species: Array, graph: Graph | None = None
        ) -> Array:
            return model(key, positions, species, graph)

        return value

    def trained_batch(self, params: PyTree[Array]) -> Property:
        """The same of a batch, with a key for each example."""
        return jax.vmap(self.trained(params))

    def committee(self) -> "Potential":
        """The mean of such potentials, which differ by their parameters."""
        return Committee(*self._made_of)

    def frame(self, positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"]) -> sf.Frame:
        """The frame of a molecule; the identity at its centroid for no frame."""
        return self._frame(species)(positions, species > 0)

    def room(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        surroundings: Surroundings | None = None,
    ) -> Room:
        """What a robust frame has no room for, and would need; other frames need none."""
        del surroundings
        if self.config.frame != "robust":
            return no_need(positions.dtype)
        return room_of(self._frame(species), positions, species > 0)

    def refuse_overflows(
        self,
        label: Callable[[int], str],
        positions: Float[np.ndarray, "molecules atoms 3"],
        species: Int[np.ndarray, "molecules atoms"],
    ) -> None:
        """Raises a `UsageError` if the frame of a molecule has no room, by `frame_room`."""
        refuse_overflows(
            *(self.config, label, positions, species, self._numbers),
            robust_closure=self._closure,
        )

    def _frame(self, species: Int[Array, " atoms"]) -> symmetrize.FrameOf:
        return symmetrize.make_frame(
            self.config,
            # Elements tell atoms apart, which leaves fewer ties between them.
            attributes=jnp.asarray(self._numbers)[species],
            robust_closure=self._closure,
        )

    @property
    def _numbers(self) -> Float[np.ndarray, " species"]:
        """The atomic numbers of the species, 0 for padding."""
        return np.array((0, *self.facts.elements), np.float32)

    @property
    def _closure(self) -> Literal["signs", "octahedral"]:
        return "octahedral" if self.targets == "polarizability" else "signs"

    def _actions(self) -> dict[str, Any]:
        """What the network takes and returns, as the group moves it."""
        return {
            "in_actions": (sf.points, None, None),
            "out_actions": self._action,
            "frame_argnums": (0, 1),
        }


class Committee(Potential):
    r"""The mean of networks that differ by their seeds: as invariant and conservative as each.

    Formula: $E(x) = \frac1S \sum_s E_s(x)$. Its parameters are those of the networks with a leading
    axis `seed`. As averages are linear, it is the average of the mean of the bare networks, and has
    one frame for all of them.
    """

    def bare(self, params: PyTree[Array]) -> Property:
        """The mean of the networks as they are, in the units of each."""
        networks = self.networks(params)
        return lambda *molecule: jnp.mean(networks(*molecule), axis=0)

    def networks(self, params: PyTree[Array]) -> Property:
        """What each of them says, along the axis `networks`."""
        of_one = super().bare
        return lambda *molecule: jax.vmap(lambda params: of_one(params)(*molecule))(params)

    def one(self) -> Potential:
        """The potential that each of the networks is, of the parameters of one."""
        return Potential(*self._made_of)


def _graph_or_none(average: Property) -> Property:
    """An average whose third argument may be left out: actions are of all three."""

    def value(positions: Array, species: Array, graph: Graph | None = None) -> Array:
        return average(positions, species, graph)

    return value


def forces_of_batch(
    energies: EnergiesAndSpreads,
) -> Callable[..., tuple[Float[Array, " molecules"], Float[Array, "molecules atoms 3"], Any]]:
    """`(positions, *rest)` of a batch to the energies, the forces, and what is beside energies."""
    with_slopes = with_gradient(energies)

    def both(positions: Float[Array, "molecules atoms 3"], *rest: Any) -> tuple[Array, Array, Any]:
        values, gradient, spreads = with_slopes(positions, *rest)
        return values, -gradient, spreads

    return both
