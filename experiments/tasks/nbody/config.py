"""What a configuration of charged n-body dynamics may say."""

from typing import Literal, Self

from pydantic import model_validator

from experiments.config.sections import Config, Count, DataConfig, ModelConfig, Seed, TrainConfig


class NBodyDataConfig(DataConfig):
    """Where the trajectories come from."""

    path: str | None = None
    """An `.npz` file to read; by default the examples are simulated."""
    cache: str = "runs/data"
    """Folder that keeps simulated examples."""
    num_train: Count = 3000
    """Number of training examples."""
    num_valid: Count = 2000
    """Number of validation examples."""
    num_test: Count = 2000
    """Number of test examples."""
    seed: Seed = 43
    """Seed of the simulation."""


class NBodyModelConfig(ModelConfig):
    """The network and how it is made equivariant."""

    backbone: Literal["gnn", "egnn", "layerwise_gnn", "linear"] = "gnn"
    """The network; all but `gnn` have their symmetry built in."""
    hidden: Count = 64
    """Width of the network."""
    layers: Count = 4
    """Number of message-passing layers."""
    frame: Literal["none", "pca"] = "none"
    """The frame to average the backbone over."""
    group: Literal["T", "O", "SO", "E", "SE"] = "E"
    """The group that the frame, or the layers of `layerwise_gnn`, are equivariant to."""
    closure: Literal["signs", "permutations", "icosahedral"] = "signs"
    """Finite group that closes the frame: the signs of the axes, signed permutations, ..."""
    training_average: Literal["full", "sampled"] = "full"
    """Average over all elements in training, or over elements drawn at random."""
    num_samples: Count = 1
    """Elements drawn for each example when the training average is sampled."""
    augmentation: Literal["none", "rotations", "reflections"] = "none"
    """Random orthogonal maps applied to training examples, without a frame."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        conflicts = []
        if self.frame != "none" and self.backbone != "gnn":
            conflicts.append(
                f"frame: received {self.frame!r} with backbone {self.backbone!r}, which is "
                "equivariant already; allowed: 'none', or backbone 'gnn'"
            )
        if self.backbone == "layerwise_gnn" and self.group not in ("E", "SE"):
            conflicts.append(
                f"group: received {self.group!r} with backbone 'layerwise_gnn'; allowed: 'E', 'SE'"
            )
        if self.frame == "none" and self.training_average == "sampled":
            conflicts.append(
                "training_average: received 'sampled' with frame 'none', which has nothing to draw "
                "from; allowed: 'full', or another frame"
            )
        if self.frame == "none" and self.closure != "signs":
            conflicts.append(
                f"closure: received {self.closure!r} with frame 'none', which has nothing to close; "
                "allowed: leave it out, or another frame"
            )
        if self.frame != "none" and self.group == "T" and self.closure != "signs":
            conflicts.append(
                f"closure: received {self.closure!r} with group 'T', which has no rotations to close; "
                "allowed: leave it out, or another group"
            )
        if self.training_average == "full" and self.num_samples != 1:
            conflicts.append(
                f"num_samples: received {self.num_samples} with training_average 'full', which "
                "draws nothing; allowed: leave it out, or training_average 'sampled'"
            )
        if self.frame != "none" and self.augmentation != "none":
            conflicts.append(
                f"augmentation: received {self.augmentation!r} with frame {self.frame!r}, which "
                "takes its place; allowed: 'none', or frame 'none'"
            )
        if conflicts:
            raise ValueError("\n".join(conflicts))
        return self

    @property
    def description(self) -> str:
        """The model in a few words."""
        words: list[str] = [self.backbone]
        if self.frame != "none":
            words.append(f"{self.frame} frames of {self.group}, closed by {self.closure}")
            words.append(f"{self.training_average} in training")
        if self.augmentation != "none":
            words.append(f"augmented by {self.augmentation}")
        return ", ".join(words)


class NBodyTrainConfig(TrainConfig):
    """The optimisation and its bookkeeping."""

    loss: Literal["l1", "mse"] = "mse"
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
