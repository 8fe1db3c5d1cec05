"""The words that configurations and commands offer as choices, each list spelled here alone.

`typing.get_args` gives the words of a list, as in `choices=get_args(GroupName)`. The names of the
library are repeated here, because a configuration is read before JAX is loaded.
"""

from typing import Literal

GroupName = Literal["T", "O", "SO", "E", "SE"]
"""Groups of motions of space: translations, (proper) rotations about the origin, both."""

FrameName = Literal["none", "pca", "robust", "quadrature", "local"]
"""What a configuration may average a network over; `local` is a frame of each node of a graph."""

Closure = Literal["signs", "permutations", "icosahedral"]
"""Finite groups that close a PCA frame."""

TrainingAverage = Literal["full", "sampled"]
"""All elements of an average in training, or some that are drawn."""

Draws = Literal["independent", "systematic"]
"""How elements that are drawn for an example depend on each other."""

Augmentation = Literal["none", "rotations", "reflections"]
"""Random orthogonal maps of training examples."""

Precision = Literal["float32", "bfloat16"]
"""What networks compute in."""

RegressionLoss = Literal["l1", "mse"]
"""Training losses of numbers: absolute or squared errors."""

Optimizer = Literal["adamw", "muon"]
"""Optimizers. Muon is for matrices; what is no matrix has AdamW beside it."""

CommandFrame = Literal["pca", "robust", "canonical"]
"""Frames that a command may average a function over, or show."""

Returned = Literal["scalars", "vectors", "points"]
"""How what a function returns moves with its cloud."""
