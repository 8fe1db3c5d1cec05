"""Handwritten digits at any angle: which digit is it?"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from optax.losses import softmax_cross_entropy_with_integer_labels

import symjax_frames as sf
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.digits.data import load_digits
from experiments.tasks.digits.model import (
    ACTIONS,
    DigitsModel,
    augmented,
    element_names,
    evaluated,
    trained,
)
from experiments.tasks.digits.pretrained import pretrained
from experiments.tasks.equivariance import equivariance_errors, median_and_worst
from experiments.training.task import Batch, Picture, Profile, Task

PUBLISHED = {
    "plain CNN": 5.03,
    "P4CNN": 2.28,
    "harmonic nets": 1.69,
    "TI-pooling": 1.2,
    "RotEqNet": 1.09,
    "SFCNN": 0.714,
    "E2CNN": 0.682,
}
"""Published test errors on rotated MNIST, in percent."""
_ANGLES = tuple(range(0, 361, 15))
_PROFILED = 500
"""Upright test digits that are turned by every angle."""


class Digits(Task):
    """Tell the digit on a rotated image, from 28 x 28 pixels.

    Args:
      config: the configuration; `data` and `model` are read.

    Raises:
      ValueError: if the data, or the weights of `model.pretrained`, cannot be read or do not fit.

    References:
      Larochelle et al., An Empirical Evaluation of Deep Architectures on Problems with Many Factors
      of Variation, ICML 2007 (rotated MNIST).
    """

    metric = "error"
    published = PUBLISHED
    seeds_together = False
    unrolled = True

    def __init__(self, config: DigitsConfig):
        self.config = config
        self.splits = load_digits(**config.data.model_dump())
        weights = None if config.model.pretrained is None else pretrained(config.model)
        self.model = DigitsModel(config.model, weights, config.train.precision)
        self._predict = jax.jit(
            lambda params, images: jax.vmap(evaluated(self.model.network(params), config.model))(
                images
            )
        )
        self._turned_errors = jax.jit(self._turned_error)

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters, without those that are pretrained."""
        return self.model.init(key)

    def losses(
        self, params: PyTree[Array], batch: Batch, keys: Key[Array, " examples"]
    ) -> Float[Array, " examples"]:
        """The cross-entropy of each image, and for canonicalization the loss of the prior."""
        config, network = self.config.model, self.model.network(params)
        draws, turns = jax.vmap(jax.random.split, out_axes=1)(keys)
        images = batch["image"]
        if config.augmentation == "rotations":
            images = jax.vmap(augmented)(turns, images)
        logits = jax.vmap(trained(network, config))(draws, images)
        losses = softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        if config.prior_weight > 0:
            # The prior holds for the poses that the data have, not for those of the augmentation.
            priors = jax.vmap(lambda image: sf.frames.prior_loss(network.scores(image)))(
                batch["image"]
            )
            losses += config.prior_weight * priors
        return losses

    def predict(self, params: PyTree[Array], batch: Batch) -> Float[Array, "examples classes"]:
        """The logits of the classes, of the symmetrized classifier."""
        return self._predict(params, batch["image"])

    def evaluate(self, params: PyTree[Array], batch: Batch) -> dict[str, Float[Array, " examples"]]:
        """For each image, 100 if the most likely class is wrong and 0 if not; the cross-entropy."""
        logits = self.predict(params, batch)
        return {
            "error": 100 * _wrong(logits, batch["label"]),
            "cross_entropy": softmax_cross_entropy_with_integer_labels(logits, batch["label"]),
        }

    def equivariance(
        self, params: PyTree[Array], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, float]:
        """Relative invariance errors of the logits under C4 and SO(2): median and worst image."""
        errors = equivariance_errors(
            lambda images: self._predict(params, images),
            (batch["image"],),
            jax.random.split(key, len(batch["label"])),
            {"C4": sf.cyclic(4), "SO(2)": sf.special_orthogonal(2)},
            **ACTIONS,
        )
        return median_and_worst(errors)

    @functools.cached_property
    def _upright(self) -> dict[str, np.ndarray]:
        """The first test digits as they were before they were rotated."""
        return load_digits(**self.config.data.model_dump() | {"rotation": "none"})["test"]

    def profile(self, params: PyTree[Array]) -> Profile:
        """Angles in degrees, and the error in percent on upright test digits turned by each."""
        batch = {name: jnp.asarray(array[:_PROFILED]) for name, array in self._upright.items()}
        return list(map(float, _ANGLES)), self._turned_errors(params, batch).tolist()

    def _turned_error(self, params: PyTree[Array], batch: Batch) -> Float[Array, " angles"]:
        def error(angle: Float[Array, ""]) -> Float[Array, ""]:
            logits = self.predict(params, {"image": _turned(batch["image"], angle)})
            return 100 * jnp.mean(_wrong(logits, batch["label"]))

        return jax.lax.map(error, jnp.asarray(_ANGLES, jnp.float32))

    def report(self, params: PyTree[Array], folder: Path) -> list[Picture]:
        """Draws the maps of the first layer for a digit and for the same digit turned."""
        # Matplotlib takes a second to load, which training need not wait for.
        from experiments.tasks.digits import figures

        path = folder / "feature_maps.png"
        image = jnp.asarray(self._upright["image"][:1])
        angles = (0.0, 45.0, 90.0)
        images = jnp.concatenate([_turned(image, jnp.float32(angle)) for angle in angles])
        lift = self.model.network(params).backbone.stages[0][0]
        names = element_names(self.config.model.group)
        figures.feature_maps(path, images[..., 0], lift(images), angles, names)
        return [("The first layer, for a digit and for the same digit turned", path)]

    def compare(self, folder: Path, results: Mapping[str, dict[str, Any]]) -> list[Picture]:
        """Draws the error of every run against the angle by which its test digits are turned."""
        from experiments.tasks.digits import figures

        if not all("profile" in result for result in results.values()):
            return []
        path = folder / "angles.png"
        curves = [
            (name, result["profile"][0][0], [errors for _, errors in result["profile"]])
            for name, result in results.items()
        ]
        figures.angle_profiles(path, curves, error_name=f"test {self.metric}")
        return [("Error against angle", path)]


def _turned(
    images: Float[Array, "examples 28 28 1"], degrees: Float[Array, ""]
) -> Float[Array, "examples 28 28 1"]:
    """Turned as the rotated data are: smoothly, and back into the range of the pixels."""
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    linear = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    turn = sf.Isometry(linear, jnp.zeros(2, linear.dtype))
    return jnp.clip(sf.fields(order=3).push(turn, images), 0, 1)


def _wrong(logits: Float[Array, "examples classes"], label: Array) -> Float[Array, " examples"]:
    return (jnp.argmax(logits, axis=-1).astype(label.dtype) != label).astype(logits.dtype)
