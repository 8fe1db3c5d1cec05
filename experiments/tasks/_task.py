"""What the training loop asks of a task."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from symjax_frames import Action

Batch = dict[str, Array]


class Audited(NamedTuple):
    """What an audit is told of a model: arguments of `symjax_frames.testing.audit`.

    A task whose models are functions of point clouds has a method `audited(params)` that returns it.
    """

    fn: Callable[..., PyTree[Array]]
    clouds: Mapping[str, Any] | None
    arguments: Callable[[Any], tuple] | None
    in_actions: PyTree[Action | None]
    out_actions: PyTree[Action | None]
    group: Literal["T", "O", "SO", "E", "SE"]


class Initialized(Protocol):
    """Whatever draws parameters: a task, or its model alone."""

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        ...


class Task(Initialized, Protocol):
    """A learning problem with its model, as pure functions of the parameters.

    Attributes:
      splits: `"train"`, `"valid"`, `"test"` to arrays with a leading example axis.
      metric: the name, among those `evaluate` returns, that selects the best parameters (lower is
        better) and is reported.
      seeds_together: whether the seeds of a run train in one vmap, or in turn. A convolution with
        kernels of several seeds is a grouped one, which is slow.
    """

    splits: dict[str, dict[str, np.ndarray]]
    metric: str
    seeds_together: bool

    def loss(self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """The training loss of a batch; `key` draws frame elements and augmentations."""
        ...

    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """The metrics of each example of a batch."""
        ...

    def predict(self, params: PyTree[Array], batch: Batch) -> PyTree[Array]:
        """The outputs of a batch, as the report draws them."""
        ...

    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """Relative equivariance errors of the model on a batch, by kind of group element."""
        ...
