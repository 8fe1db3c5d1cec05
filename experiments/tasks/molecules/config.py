"""What a configuration of molecules may say."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.config.sections import (
    Config,
    Count,
    ModelConfig,
    NonNegative,
    Positive,
    TrainConfig,
)
from experiments.tasks.molecules.data_config import MoleculesDataConfig


class MoleculesModelConfig(ModelConfig):
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
    frame: Literal["none", "pca", "robust", "quadrature"] = "none"
    """What to average the backbone over."""
    group: Literal["E", "SE"] = "E"
    """The group of the frame: with or without reflections."""
    closure: Literal["signs", "permutations", "icosahedral"] = "signs"
    """Finite group that closes a PCA frame."""
    capacity: Count = 48
    """Elements of a robust frame that are kept; what is dropped is part of every evaluation."""
    choices: Count = 12
    """Atoms that a robust frame keeps for each of its first two axes; what is dropped counts too."""
    threshold: Annotated[float, Field(gt=0, le=0.99)] = 0.9
    """Squared length, relative to the longest, at which an atom begins to count in a robust frame: a
    lower one makes the energy smoother and takes more elements."""
    quadrature_degree: Annotated[int, Field(ge=0, le=15)] = 5
    """Degree of the quadrature, which is exact for a network of that degree alone."""
    training_average: Literal["full", "sampled"] = "full"
    """Average over all elements in training, or over elements drawn at random."""
    num_samples: Count = 1
    """Elements drawn for each example when the training average is sampled."""
    augmentation: Literal["none", "rotations", "reflections"] = "none"
    """Random orthogonal maps applied to training examples, without a frame."""
    detach: bool = False
    """Take the frame for a constant in derivatives: forces then do not conserve the energy."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        conflicts = []
        if self.frame != "none" and self.backbone == "e3x":
            conflicts.append(
                f"frame: received {self.frame!r} with backbone 'e3x', which is equivariant already; "
                "allowed: 'none', or another backbone"
            )
        if self.backbone == "transformer" and self.hidden % 4:
            conflicts.append(
                f"hidden: received {self.hidden} with backbone 'transformer', which has four heads; "
                "allowed: a multiple of 4"
            )
        fields = type(self).model_fields
        for key in self.unread():
            if getattr(self, key) != fields[key].default:
                conflicts.append(
                    f"{key}: received {getattr(self, key)!r} with backbone {self.backbone!r}, frame "
                    f"{self.frame!r} and training_average {self.training_average!r}, which do not "
                    "read it; allowed: leave it out"
                )
        if conflicts:
            raise ValueError("\n".join(conflicts))
        return self

    def unread(self) -> list[str]:
        """Keys without a meaning beside the values of the others."""
        ignored = {
            "cutoff": self.backbone == "point_sum",
            "radial": self.backbone == "point_sum",
            "degree": self.backbone == "point_sum",
            "group": self.frame == "none",
            "closure": self.frame != "pca",
            "capacity": self.frame != "robust",
            "choices": self.frame != "robust",
            "threshold": self.frame != "robust",
            "quadrature_degree": self.frame != "quadrature",
            "training_average": self.frame == "none",
            "num_samples": self.frame == "none" or self.training_average == "full",
            "augmentation": self.frame != "none",
            "detach": self.frame not in ("pca", "robust"),
        }
        return [key for key, unread in ignored.items() if unread]

    @property
    def description(self) -> str:
        """The model in a few words."""
        words = [self.backbone.replace("_", " ")]
        match self.frame:
            case "pca":
                words.append(f"pca frames of {self.group}, closed by {self.closure}")
            case "robust":
                words.append(f"robust frames of {self.group}")
            case "quadrature":
                words.append(f"quadrature of {self.group}, degree {self.quadrature_degree}")
        if self.frame != "none":
            words.append(f"{self.training_average} in training")
        if self.detach:
            words.append("detached")
        if self.augmentation != "none":
            words.append(f"augmented by {self.augmentation}")
        return ", ".join(words)


class MoleculesTrainConfig(TrainConfig):
    """The optimisation and its bookkeeping."""

    loss: Literal["l1", "mse"] = "l1"
    """The training loss: lengths of the error vectors, or their squares."""
    energy_weight: NonNegative = 0.1
    """Weight of the energy beside forces, both in units of the typical force (times Angstrom)."""


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

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        default = MoleculesTrainConfig.model_fields["energy_weight"].default
        if self.data.targets != "energy_forces" and self.train.energy_weight != default:
            raise ValueError(
                f"train.energy_weight: received {self.train.energy_weight} with targets "
                f"{self.data.targets!r}, which do not read it; allowed: leave it out"
            )
        if self.model.backbone == "e3x" and "energy" not in self.data.targets:
            raise ValueError(
                f"data.targets: received {self.data.targets!r} with backbone 'e3x', which returns "
                "scalars; allowed: 'energy_forces' or 'energy', or another backbone"
            )
        return self
