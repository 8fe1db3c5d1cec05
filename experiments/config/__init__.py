"""What a configuration file may say: the sections, their keys, defaults and limits, a class a task."""

from experiments.config._sections import Config as Config
from experiments.config._sections import DataConfig as DataConfig
from experiments.config._sections import ModelConfig as ModelConfig
from experiments.config._sections import TrainConfig as TrainConfig
from experiments.config.digits import DigitsConfig as DigitsConfig
from experiments.config.digits import DigitsModelConfig as DigitsModelConfig
from experiments.config.molecules import MoleculesConfig as MoleculesConfig
from experiments.config.molecules import MoleculesModelConfig as MoleculesModelConfig
from experiments.config.nbody import NBodyConfig as NBodyConfig
from experiments.config.nbody import NBodyModelConfig as NBodyModelConfig

CONFIGS: dict[str, type[Config]] = {
    "nbody": NBodyConfig,
    "digits": DigitsConfig,
    "molecules": MoleculesConfig,
}
"""The configurations by the value of `task`."""
