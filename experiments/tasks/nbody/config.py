"""What a configuration of charged n-body dynamics may say."""

from typing import ClassVar, Literal

from experiments.config.choices import GroupName, RegressionLoss
from experiments.config.rules import ReadWith, Rule
from experiments.config.sections import Config, Count, DataConfig, Seed, TrainConfig
from experiments.config.symmetry import FrameModelConfig


class NBodyDataConfig(DataConfig):
    """Where the trajectories come from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "streamed",
            "be false without a path, as simulated examples are few",
            lambda data: not data.streamed or data.path is not None,
        ),
    )

    path: str | None = None
    """An `.npz` file to read; by default the examples are simulated."""
    cache: str = "runs/data"
    """Folder that keeps simulated examples, and files that are streamed."""
    streamed: bool = False
    """Whether training examples are read from files while it trains, and take no memory."""
    num_train: Count = 3000
    """Number of training examples."""
    num_valid: Count = 2000
    """Number of validation examples."""
    num_test: Count = 2000
    """Number of test examples."""
    seed: Seed = 43
    """Seed of the simulation."""


class NBodyModelConfig(FrameModelConfig):
    """The network and how it is made equivariant."""

    backbone: Literal["gnn", "egnn", "layerwise_gnn", "linear"] = "gnn"
    """The network; all but `gnn` have their symmetry built in."""
    hidden: Count = 64
    """Width of the network."""
    layers: Count = 4
    """Number of message-passing layers."""
    group: GroupName = "E"
    """The group that the frame, or the layers of `layerwise_gnn`, are equivariant to."""
    moving: bool = False
    """Whether the points move from layer to layer of `layerwise_gnn`, as those of `gnn` do."""

    read_with: ClassVar[ReadWith] = {
        **FrameModelConfig.read_with,
        "moving": {"backbone": ["layerwise_gnn"]},
    }

    rules: ClassVar[tuple[Rule, ...]] = (
        *FrameModelConfig.rules,
        Rule(
            "frame",
            "be 'none' with backbone {section.backbone!r}, which is equivariant already",
            lambda model: model.frame == "none" or model.backbone == "gnn",
        ),
        Rule(
            "group",
            "be 'E' or 'SE' with backbone 'layerwise_gnn'",
            lambda model: model.backbone != "layerwise_gnn" or model.group in ("E", "SE"),
        ),
    )

    @property
    def description(self) -> str:
        """The model in a few words."""
        moving = ["moving points"] if self.moving else []
        return ", ".join([self.backbone, *moving, *self.frame_words])


class NBodyTrainConfig(TrainConfig):
    """The optimisation and its bookkeeping."""

    loss: RegressionLoss = "mse"
    """The training loss."""


class NBodyConfig(Config):
    """Everything that determines a run on charged n-body dynamics."""

    task: Literal["nbody"]
    """What is learnt."""
    data: NBodyDataConfig = NBodyDataConfig()
    """Where the examples come from."""
    model: NBodyModelConfig = NBodyModelConfig()
    """The network and how it is made equivariant."""
    train: NBodyTrainConfig
    """The optimisation and its bookkeeping."""
