"""The sections that every task has, and the types of their values."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiments.config.choices import Optimizer, Precision
from experiments.config.rules import ReadWith, Rule, check_combinations, unread

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of all sections: unknown keys and converted types are errors, values are final.

    Attributes:
      read_with: keys that are read only beside some values of others; elsewhere they must have
        their default.
      rules: what else must hold between values.
      renamed: keys of earlier versions, and what to write instead.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )
    read_with: ClassVar[ReadWith] = {}
    rules: ClassVar[tuple[Rule, ...]] = ()
    renamed: ClassVar[Mapping[str, str]] = {}

    def unread(self) -> list[str]:
        """Keys without a meaning beside the values of the others."""
        return list(unread(self, self.read_with))

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        check_combinations(self, self.read_with, self.rules)
        return self


class DataConfig(Section):
    """Where the examples come from."""

    path: str | None = None
    """A file to read instead of the examples that come by default."""
    cache: str = "runs/data"
    """Folder that keeps examples that took time to make."""
    num_train: Count
    """Number of training examples."""
    num_valid: Count
    """Number of validation examples."""
    num_test: Count
    """Number of test examples."""
    seed: Seed
    """Seed of the examples."""


class ModelConfig(Section):
    """The network and how it is made equivariant."""

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The values that a run has stored in an earlier version, in the words of this one."""
        return values

    @property
    @abstractmethod
    def description(self) -> str:
        """The model in a few words."""


def _is_multiple(key: str) -> Rule:
    return Rule(
        key,
        "be a multiple of evaluate_every, which is {section.evaluate_every}",
        lambda train: getattr(train, key) % train.evaluate_every == 0,
    )


class TrainConfig(Section):
    """The optimisation and its bookkeeping."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("seeds", "be distinct", lambda train: len(set(train.seeds)) == len(train.seeds)),
        _is_multiple("epochs"),
        _is_multiple("checkpoint_every"),
    )

    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)] = (0, 1, 2)
    """Seeds of the runs that train side by side."""
    epochs: Count
    """Passes over the training examples."""
    batch_size: Count = 100
    """Examples in a batch; the rest of an epoch that fills no batch is dropped."""
    gradient_parts: Count = 1
    """Parts of a batch whose gradients are computed one after the other, and added: less memory."""
    loss: str
    """The training loss."""
    optimizer: Optimizer = "adamw"
    """The optimizer; `muon` needs fewer steps, and more time for each."""
    learning_rate: Positive = 1e-3
    """Largest learning rate, reached after the warm-up; it decays to zero as a cosine."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly."""
    weight_decay: NonNegative = 0.0
    """Weight decay of the optimizer."""
    clip_norm: Positive | None = 1.0
    """Largest global norm of a gradient, or null."""
    precision: Precision = "float32"
    """What the network computes in, inside its average. Parameters, frames, losses and the
    optimizer have float32 in any case."""
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


class MeshConfig(Section):
    """The devices, as a mesh of two axes."""

    data: Count | None = None
    """Devices that share a batch; by default all that `frame` leaves."""
    frame: Count = 1
    """Devices that share the frame of an average over more elements than one."""


class Config(Section):
    """Everything that determines a run; each task has a subclass with sections of its own."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "train.batch_size",
            "be at most data.num_train, which is {section.data.num_train}",
            lambda config: config.train.batch_size <= config.data.num_train,
        ),
        Rule(
            "train.gradient_parts",
            "divide train.batch_size, which is {section.train.batch_size}",
            lambda config: config.train.batch_size % config.train.gradient_parts == 0,
        ),
        Rule(
            "train.warmup_steps",
            "be fewer than the {section.num_steps} steps of the run",
            # Too large a batch leaves no steps at all, and is a mistake of its own.
            lambda config: config.num_steps == 0 or config.train.warmup_steps < config.num_steps,
        ),
    )

    task: str
    """What is learnt."""
    run: str
    """The run folder; by default `runs/` and the name of the configuration file."""
    data: DataConfig
    """Where the examples come from."""
    model: ModelConfig
    """The network and how it is made equivariant."""
    train: TrainConfig
    """The optimisation and its bookkeeping."""
    mesh: MeshConfig = MeshConfig()
    """The devices, as a mesh of two axes."""
    compilation_cache: str | None = None
    """Folder that keeps compiled programs, or '' for none; by default that of the command line."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in the training examples."""
        return self.data.num_train // self.train.batch_size

    @property
    def num_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.train.epochs * self.steps_per_epoch
