"""What a configuration file may say: the sections that all tasks share, and how they are read."""

from experiments.config.sections import Config as Config
from experiments.config.sections import DataConfig as DataConfig
from experiments.config.sections import ModelConfig as ModelConfig
from experiments.config.sections import TrainConfig as TrainConfig
