"""What a configuration of molecules may say."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from experiments.config.choices import RegressionLoss
from experiments.config.rules import ReadWith, Rule
from experiments.config.sections import Config, Count, NonNegative, Positive, TrainConfig
from experiments.config.symmetry import FrameModelConfig
from experiments.tasks.molecules.choices import FrameGroup
from experiments.tasks.molecules.data_config import MoleculesDataConfig

_WITH_MESSAGES = ("message_passing", "transformer")
_WITH_EDGES = ("message_passing", "transformer", "e3x")


class MoleculesModelConfig(FrameModelConfig):
    """The network and how it is made invariant."""

    backbone: Literal["message_passing", "transformer", "point_sum", "e3x"] = "message_passing"
    """The network; all but `e3x` know no rotations."""
    hidden: Count = 64
    """Width of the network."""
    layers: Count = 2
    """Number of rounds of messages or attention, or of hidden layers of `point_sum`."""
    cutoff: Positive = 5.0
    """Distance in Angstrom beyond which atoms do not see each other; `point_sum` has none."""
    radial: Count = 8
    """Functions of the distance that the network sees."""
    degree: Annotated[int, Field(ge=0, le=6)] = 2
    """Degree of the polynomials of the direction that the network sees."""
    group: FrameGroup = "E"
    """The group of the frame: with or without reflections."""
    messages: Literal["between_frames", "in_one_frame"] = "between_frames"
    """Of frame `local`: whether messages go from atom to atom, each with its own frame, and turn from
    one into the other; or each atom has all rounds for itself, among its neighbours in its frame."""
    vectors: Annotated[int, Field(ge=0)] = 8
    """Of the features that a message has, those that are vectors and turn from frame to frame."""

    read_with: ClassVar[ReadWith] = {
        **FrameModelConfig.read_with,
        "cutoff": {"backbone": _WITH_EDGES},
        "radial": {"backbone": _WITH_EDGES},
        "degree": {"backbone": _WITH_EDGES},
        "group": {"frame": ["pca", "robust", "quadrature", "local"]},
        "messages": {"frame": ["local"]},
        "vectors": {"frame": ["local"], "messages": ["between_frames"]},
    }
    has_local_frames: ClassVar[bool] = True
    rules: ClassVar[tuple[Rule, ...]] = (
        *FrameModelConfig.rules,
        Rule(
            "backbone",
            "be 'message_passing' or 'transformer' with frame 'local', which look at neighbours",
            lambda model: model.frame != "local" or model.backbone in _WITH_MESSAGES,
        ),
        Rule(
            "vectors",
            "be at most a third of hidden, as each has three components",
            lambda model: (
                model.frame != "local"
                or model.messages != "between_frames"
                or 3 * model.vectors <= model.hidden
            ),
        ),
        Rule(
            "frame",
            "be 'none' with backbone 'e3x', which is equivariant already",
            lambda model: model.frame == "none" or model.backbone != "e3x",
        ),
        Rule(
            "hidden",
            "be a multiple of 4 with backbone 'transformer', which has four heads",
            lambda model: model.backbone != "transformer" or model.hidden % 4 == 0,
        ),
    )

    @property
    def description(self) -> str:
        """The model in a few words."""
        return ", ".join([self.backbone.replace("_", " "), *self.frame_words])


class MoleculesTrainConfig(TrainConfig):
    """The optimisation and its bookkeeping."""

    loss: RegressionLoss = "l1"
    """The training loss: lengths of the error vectors, or their squares."""
    energy_weight: NonNegative = 0.1
    """Weight of the energy beside forces, both in units of the typical force (times Angstrom)."""
    energy_per_atom: bool = False
    """Let the energy of an atom count in the loss, not that of the structure: of structures that
    differ in size, large ones then do not outweigh the others."""
    stress_weight: NonNegative = 0.1
    """Weight of the virial of an atom, stress times volume over atoms, where stresses are learnt."""


class MoleculesConfig(Config):
    """Everything that determines a run on molecules."""

    task: Literal["molecules"]
    """What is learnt."""
    data: MoleculesDataConfig
    """Where the examples come from."""
    model: MoleculesModelConfig = MoleculesModelConfig()
    """The network and how it is made invariant."""
    train: MoleculesTrainConfig
    """The optimisation and its bookkeeping."""

    read_with: ClassVar[ReadWith] = {
        "train.energy_weight": {"data.targets": ["energy_forces"]},
        "train.energy_per_atom": {"data.targets": ["energy_forces", "energy"]},
        "train.stress_weight": {"data.targets": ["energy_forces"]},
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        *Config.rules,
        Rule(
            "data.targets",
            "be 'energy_forces' or 'energy' with backbone 'e3x', which returns scalars",
            lambda config: config.model.backbone != "e3x" or "energy" in config.data.targets,
        ),
        Rule(
            "train.precision",
            "be 'float32' with backbone 'e3x', whose layers are equivariant only as they are rounded",
            lambda config: config.model.backbone != "e3x" or config.train.precision == "float32",
        ),
        Rule(
            "data.targets",
            "be 'energy_forces' or 'energy' with model.frame 'local', a sum of energies of atoms",
            lambda config: config.model.frame != "local" or "energy" in config.data.targets,
        ),
    )
