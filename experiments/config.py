"""What a configuration file may say: the sections, their keys, defaults and limits."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of all sections: unknown keys and converted types are errors, values are final."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """Where the examples come from."""

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


class ModelConfig(Section):
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


class TrainConfig(Section):
    """The optimisation and its bookkeeping."""

    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)] = (0, 1, 2)
    """Seeds of the runs that train side by side."""
    epochs: Count
    """Passes over the training examples."""
    batch_size: Count = 100
    """Examples in a batch; the rest of an epoch that fills no batch is dropped."""
    loss: Literal["l1", "mse"] = "mse"
    """The training loss."""
    learning_rate: Positive = 1e-3
    """Largest learning rate, reached after the warm-up; it decays to zero as a cosine."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly."""
    weight_decay: NonNegative = 0.0
    """Weight decay of AdamW."""
    clip_norm: Positive | None = 1.0
    """Largest global norm of a gradient, or null."""
    ema: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = None
    """Decay of the moving average of the weights that is evaluated, or null for none."""
    steps_per_dispatch: Count = 30
    """Steps that run on the device without a word to Python."""
    evaluate_every: Count = 1
    """Epochs between two validations."""
    evaluation_batch_size: Count = 500
    """Examples evaluated at a time."""
    checkpoint_every: Count = 1
    """Epochs between two checkpoints, a multiple of `evaluate_every`."""
    keep: Count = 2
    """Number of checkpoints kept."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        conflicts = []
        if len(set(self.seeds)) < len(self.seeds):
            conflicts.append(f"seeds: received {list(self.seeds)}; allowed: distinct seeds")
        for key in ("epochs", "checkpoint_every"):
            if getattr(self, key) % self.evaluate_every:
                conflicts.append(
                    f"{key}: received {getattr(self, key)}; allowed: a multiple of evaluate_every, "
                    f"which is {self.evaluate_every}"
                )
        if conflicts:
            raise ValueError("\n".join(conflicts))
        return self


class Config(Section):
    """Everything that determines a run."""

    task: Literal["nbody"]
    """What is learnt."""
    run: str
    """The run folder; by default `runs/` and the name of the configuration file."""
    data: DataConfig = DataConfig()
    """Where the examples come from."""
    model: ModelConfig = ModelConfig()
    """The network and how it is made equivariant."""
    train: TrainConfig
    """The optimisation and its bookkeeping."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.train.batch_size > self.data.num_train:
            raise ValueError(
                f"train.batch_size: received {self.train.batch_size}; allowed: at most "
                f"data.num_train, which is {self.data.num_train}"
            )
        if self.train.warmup_steps >= self.num_steps:
            raise ValueError(
                f"train.warmup_steps: received {self.train.warmup_steps}; allowed: fewer than the "
                f"{self.num_steps} steps of the run"
            )
        return self

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in the training examples."""
        return self.data.num_train // self.train.batch_size

    @property
    def num_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.train.epochs * self.steps_per_epoch
