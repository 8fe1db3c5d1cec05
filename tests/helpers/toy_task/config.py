"""What a configuration of the toy may say."""

from typing import Literal

from experiments.config import Config, DataConfig, ModelConfig, TrainConfig
from experiments.config.sections import Count, Seed

TEXT = """\
task: toy
run: {run}
data: {{num_train: 100, num_valid: 23, num_test: 19}}
model: {{hidden: 8}}
mesh: {{data: 1}}
train:
  seeds: [3, 5]
  epochs: 8
  batch_size: 16
  learning_rate: 0.01
  ema: 0.9
  steps_per_dispatch: 4
  evaluate_every: 2
  evaluation_batch_size: 8
  checkpoint_every: 2
"""


class ToyDataConfig(DataConfig):
    """Where the examples come from."""

    seed: Seed = 43
    """Seed of the examples."""


class ToyModelConfig(ModelConfig):
    """The network."""

    hidden: Count = 64
    """Width of the network."""
    layers: Count = 1
    """Not read: any value leaves the network as it is."""

    @property
    def description(self) -> str:
        return "toy"


class ToyTrainConfig(TrainConfig):
    """The optimisation and its bookkeeping."""

    loss: Literal["mse"] = "mse"
    """The training loss."""


class ToyConfig(Config):
    """Everything that determines a run of the toy."""

    task: Literal["toy"]
    """What is learnt."""
    data: ToyDataConfig
    """Where the examples come from."""
    model: ToyModelConfig
    """The network."""
    train: ToyTrainConfig
    """The optimisation and its bookkeeping."""
