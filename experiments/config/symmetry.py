"""The keys of a configuration that say what a network is averaged over."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field

from experiments.config.choices import (
    Augmentation,
    Closure,
    Draws,
    FrameName,
    GroupName,
    TrainingAverage,
)
from experiments.config.rules import ReadWith, Rule, mistake
from experiments.config.sections import Count, ModelConfig


def _no_integer(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise mistake(
            "must be a list of two integers, the choices of each of the first two axes that are "
            f"kept, got {value}: the number of elements, which had this name, is now max_elements"
        )
    return value


class FrameModelConfig(ModelConfig):
    """A network that may be averaged over a frame; `experiments.symmetrize` does what it says."""

    frame: FrameName = "none"
    """What to average the backbone over."""
    group: GroupName = "E"
    """The group of the frame; E has reflections, SE has none."""
    closure: Closure = "signs"
    """Finite group that closes a PCA frame: the signs of the axes, signed permutations, ..."""
    max_elements: Count = 48
    """Elements of a robust frame that are kept; evaluations state the weight of the rest."""
    capacity: Annotated[
        tuple[Count, ...],
        Field(strict=False, min_length=2, max_length=2),
        BeforeValidator(_no_integer),
    ] = (12, 12)
    """Points kept for each of the first two axes of a robust frame; evaluations state the rest."""
    threshold: Annotated[float, Field(gt=0, le=0.99)] = 0.9
    """Squared length, relative to the longest, at which a point begins to count in a robust frame.
    A lower one makes the model smoother and takes more elements."""
    training_threshold: Annotated[float, Field(gt=0, le=0.99)] | None = None
    """The threshold while elements are drawn in training, or null for the same: with a lower one the
    network sees more orientations than it is averaged over."""
    quadrature_degree: Annotated[int, Field(ge=0, le=15)] = 5
    """Degree of the quadrature, which is exact for a network of that degree alone."""
    training_average: TrainingAverage = "full"
    """Average over all elements in training, or over elements drawn at random."""
    num_samples: Count = 1
    """Elements drawn for each example when the training average is sampled."""
    draws: Draws = "independent"
    """Whether elements drawn for an example differ: each on its own, or without replacement and
    balanced, which has less noise."""
    augmentation: Augmentation = "none"
    """Random orthogonal maps applied to training examples, without a frame."""
    detach: bool = False
    """Take the frame for a constant in derivatives: forces then do not conserve the energy."""

    read_with: ClassVar[ReadWith] = {
        "closure": {"frame": ["pca"], "group": ["O", "SO", "E", "SE"]},
        "max_elements": {"frame": ["robust", "local"]},
        "capacity": {"frame": ["robust", "local"]},
        "threshold": {"frame": ["robust", "local"]},
        "training_threshold": {"frame": ["robust", "local"], "training_average": ["sampled"]},
        "quadrature_degree": {"frame": ["quadrature"]},
        "training_average": {"frame": ["pca", "robust", "quadrature", "local"]},
        "num_samples": {
            "frame": ["pca", "robust", "quadrature", "local"],
            "training_average": ["sampled"],
        },
        "draws": {
            "frame": ["pca", "robust", "quadrature"],
            "training_average": ["sampled"],
        },
        "augmentation": {"frame": ["none"]},
        "detach": {"frame": ["pca", "robust"]},
    }
    has_local_frames: ClassVar[bool] = False
    """Whether the network can be averaged over a frame of each node of a graph."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "frame",
            "be 'none', 'pca', 'robust' or 'quadrature', as this network has one frame in all",
            lambda model: model.frame != "local" or model.has_local_frames,
        ),
        Rule(
            "group",
            "be 'O', 'SO', 'E' or 'SE' with frame {section.frame!r}, which has rotations",
            lambda model: model.group != "T" or model.frame in ("none", "pca"),
        ),
    )
    renamed: ClassVar[Mapping[str, str]] = {
        "choices": "capacity, a list of integers, one for each of the first two axes",
    }

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The values with `max_elements` and `capacity` for what were `capacity` and `choices`."""
        values = dict(values)
        if isinstance(values.get("capacity"), int) and "max_elements" not in values:
            values["max_elements"] = values.pop("capacity")
        if isinstance(values.get("choices"), int) and "capacity" not in values:
            values["capacity"] = [values.pop("choices")] * 2
        return values

    @property
    def in_training(self) -> Self:
        """The same model with the frame that elements are drawn from in training."""
        threshold = self.training_threshold or self.threshold
        return self.model_copy(update={"threshold": threshold, "training_threshold": None})

    @property
    def frame_words(self) -> list[str]:
        """What is averaged over, and how in training, in a few words each."""
        words: list[str] = []
        match self.frame:
            case "pca":
                words.append(f"pca frames of {self.group}, closed by {self.closure}")
            case "robust":
                words.append(f"robust frames of {self.group}")
            case "local":
                words.append(f"local frames of {self.group}")
            case "quadrature":
                words.append(f"quadrature of {self.group}, degree {self.quadrature_degree}")
        if self.frame != "none":
            words.append(f"{self.training_average} in training")
        if self.detach:
            words.append("detached")
        if self.augmentation != "none":
            words.append(f"augmented by {self.augmentation}")
        return words
