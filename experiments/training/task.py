"""What the application asks of a task: a learning problem with its model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from experiments.config.choices import GroupName
from symjax_frames import Action

Batch = dict[str, Array]

Picture = tuple[str, Path]
"""The title and the path of a picture, or of an HTML page, of a report."""

Profile = tuple[list[float], list[float]]
"""Values of a quantity, and the test error at each of them."""


class Audited(NamedTuple):
    """What an audit is told of a model: arguments of `symjax_frames.testing.audit`."""

    fn: Callable[..., PyTree[Array]]
    clouds: Mapping[str, Any] | None
    arguments: Callable[[Any], tuple] | None
    in_actions: PyTree[Action | None]
    out_actions: PyTree[Action | None]
    group: GroupName


class Initialized(Protocol):
    """Whatever draws parameters: a task, or its model alone."""

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""
        ...


class Task(ABC):
    """A learning problem with its model, as pure functions of the parameters.

    Attributes:
      splits: `"train"`, `"valid"`, `"test"` to arrays with a leading example axis.
      metric: the name, among those `evaluate` returns, that selects the best parameters (lower is
        better) and is reported.
      seeds_together: whether the seeds of a run train in one vmap, or in turn. A convolution with
        kernels of several seeds is a grouped one, which is slow.
      unrolled: whether steps and seeds that come in turn are written out, not loops on the device:
        XLA compiles the derivative of a convolution in a loop 50 times slower for CPUs.
      published: published errors in the same metric by name, which reports draw beside.
    """

    splits: dict[str, dict[str, np.ndarray]]
    metric: str
    seeds_together: bool = True
    unrolled: bool = False
    published: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters."""

    @abstractmethod
    def losses(
        self, params: PyTree[Array], batch: Batch, keys: Key[Array, " examples"]
    ) -> Float[Array, " examples"]:
        """The training loss of each example of a batch; that of the batch is their mean.

        The keys draw frame elements and augmentations, so that these do not depend on how many
        devices share a batch.
        """

    def loss(self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]) -> Float[Array, ""]:
        """The mean of the losses of a batch, on one device."""
        count = len(next(iter(batch.values())))
        return jnp.mean(self.losses(params, batch, jax.random.split(key, count)))

    @abstractmethod
    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """The metrics of each example of a batch."""

    @abstractmethod
    def predict(self, params: PyTree[Array], batch: Batch) -> PyTree[Array]:
        """The outputs of a batch, as the report draws them."""

    @abstractmethod
    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """Relative equivariance errors of the model on a batch, by kind of group element."""

    def check_room(self, split: str) -> None:
        """Refuses examples of a split whose frame has no room, before anything is computed of them.

        Does nothing by default, which is right for frames that have as many elements for every
        input.

        Raises:
          UsageError: an example would lose weight of its frame, so that the model would not be
            equivariant there.
        """
        del split

    def facts(self) -> Mapping[str, Any] | None:
        """What is learnt from the training set beside the weights, as JSON values; none by default.

        A run stores it, and refuses data that say something else.
        """
        return None

    def profile(self, params: PyTree[Array]) -> Profile | None:
        """The test error as a function of a quantity, which evaluations store; none by default."""
        return None

    def committee(self) -> "Task | None":
        """This task with the mean of several networks, whose parameters have a leading axis `seed`.

        None by default, for outputs whose mean means nothing.
        """
        return None

    def audited(self, params: PyTree[Array]) -> Audited | None:
        """What the command `audit` looks at; none by default, for other inputs than clouds."""
        return None

    def report(self, params: PyTree[Array], folder: Path) -> list[Picture]:
        """Draws pictures of the model with the best parameters into a folder; none by default."""
        return []

    def summarized(self, means: Mapping[str, Float[Array, ""]]) -> dict[str, Float[Array, ""]]:
        """The metrics of a split from the means of those of its examples; the same by default.

        A root of a mean square, for example, is no mean of anything.
        """
        return dict(means)

    def compare(self, folder: Path, results: Mapping[str, dict[str, Any]]) -> list[Picture]:
        """Draws pictures of the evaluations of several runs, by their names; none by default."""
        return []
