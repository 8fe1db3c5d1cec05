"""From the model section of a digits configuration to a classifier and its averages."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

import symjax_frames as sf
from experiments.config.choices import Precision
from experiments.precision import in_precision
from experiments.tasks.digits.config import DigitsModelConfig
from symjax_frames import nn
from symjax_frames.frames import ScoredKind

Logits = Float[Array, " classes"]
Image = Float[Array, "height width 1"]

ACTIONS: dict[str, Any] = {"in_actions": (sf.images,), "out_actions": None}
"""How the plane moves an image and its logits, which are invariant."""
CLASSES = 10
_HIDDEN = 64


def group_named(name: str) -> sf.Group:
    """The planar group of a name such as `"C8"` or `"D4"`."""
    family = {"C": sf.cyclic, "D": sf.dihedral}[name[0]]
    return family(int(name[1:]))


def element_names(name: str) -> list[str]:
    """The elements of that group in words: the angle of a turn, or that of a mirror's line."""
    elements = group_named(name).elements
    assert elements is not None
    names = []
    for linear in np.asarray(elements.linear):
        angle = np.rad2deg(np.arctan2(linear[1, 0], linear[0, 0])) % 360
        turn = np.linalg.det(linear) > 0
        names.append(f"{angle:.4g}°" if turn else f"mirror {angle / 2:.4g}°")
    return names


class Classifier(nnx.Module):
    """A network for images of digits: group convolutions, and for canonicalization a second one.

    Args:
      config: the model section of a configuration.
      precision: what the logits are computed in; scores of poses, which make frames, are not.
      rngs: where the parameters are drawn from.
    """

    def __init__(
        self, config: DigitsModelConfig, precision: Precision = "float32", *, rngs: nnx.Rngs
    ):
        group, width = group_named(config.group), config.width
        self.precision = precision
        self.backbone = nn.GroupCNN(
            group,
            1,
            [[width], [2 * width], [2 * width] * 3],
            kernel_size=config.kernel_size,
            basis=config.basis,
            rngs=rngs,
        )
        # Mirror images of digits are other signs: reflections stay apart.
        self.pool = nn.GroupPool(group, over=group_named(config.group.replace("D", "C")))
        cosets = 2 if config.group.startswith("D") else 1
        self.head = nn.MLP([2 * width * cosets, _HIDDEN, CLASSES], rngs=rngs)
        if config.symmetrization == "canonical":
            self.scores = Scores(config, rngs=rngs)

    def __call__(self, image: Image) -> Logits:
        """The logits of the classes, of one image."""
        graph, state = nnx.split(self)

        def logits(state: nnx.State) -> Callable[[Image], Logits]:
            return nnx.merge(graph, state)._logits

        return in_precision(self.precision, logits, state)(image)

    def _logits(self, image: Image) -> Logits:
        return self.head(self.pool(self.backbone(image[None])).reshape(-1))


class Pretrained(NamedTuple):
    """Weights that another run found, and that stay as they are.

    Attributes:
      weights: of the classifier, without a network that scores poses.
      name: holds their digest. What is trained around the weights goes by this name in
        checkpoints, so that none of them is read with any other weights.
    """

    weights: dict[str, PyTree[Array]]
    name: str


class DigitsModel:
    """The classifier as pure functions of the parameters.

    Args:
      config: the model section of a configuration.
      pretrained: weights that are taken as they are.
      precision: what the classifier computes in.
    """

    def __init__(
        self,
        config: DigitsModelConfig,
        pretrained: Pretrained | None = None,
        precision: Precision = "float32",
    ):
        self.config = config
        self._pretrained = pretrained
        network = nnx.eval_shape(lambda: Classifier(config, precision, rngs=nnx.Rngs(0)))
        self._graph = nnx.graphdef(network)

    def network(self, params: PyTree[Array]) -> Classifier:
        """The classifier with the given parameters, and those that are pretrained."""
        if self._pretrained is not None:
            params = self._pretrained.weights | {"scores": params[self._pretrained.name]}
        return nnx.merge(self._graph, nnx.State(params))

    def init(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws the parameters, without those that are pretrained."""
        params = nnx.to_pure_dict(nnx.state(Classifier(self.config, rngs=nnx.Rngs(key))))
        return params if self._pretrained is None else {self._pretrained.name: params["scores"]}


class Scores(nnx.Module):
    """A small group-equivariant network that scores the poses of an image."""

    def __init__(self, config: DigitsModelConfig, *, rngs: nnx.Rngs):
        group, width = group_named(config.symmetrization_group), config.score_width
        self.backbone = nn.GroupCNN(group, 1, [[width], [width], [width]], rngs=rngs)
        self.head = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, image: Image) -> Float[Array, " order"]:
        """The scores of the group elements: those of a moved image are the same, permuted."""
        return self.head(self.backbone(image[None]))[0, :, 0]


def evaluated(network: Classifier, config: DigitsModelConfig) -> Callable[[Image], Logits]:
    """The classifier as it is evaluated: averaged over the whole group, or in its best pose."""
    match config.symmetrization:
        case "group":
            group = group_named(config.symmetrization_group)
            # The network is exactly invariant to the quarter turns that it is made of.
            orders = [int(name[1:]) for name in (config.group, config.symmetrization_group)]
            already = sf.cyclic(math.gcd(4, *orders))
            return sf.group_average(network, group, already=already, **ACTIONS)
        case "canonical":
            return _canonicalized(network, config, "hard")
    return network


def trained(
    network: Classifier, config: DigitsModelConfig
) -> Callable[[Key[Array, ""], Image], Logits]:
    """The classifier as it is trained, a function of `(key, image)`."""
    if config.training_average == "sampled":
        group = group_named(config.symmetrization_group)
        return sf.sampled_average(network, group, **ACTIONS)
    if config.symmetrization == "canonical":
        model = _canonicalized(network, config, config.canonicalization)
    else:
        model = evaluated(network, config)
    return lambda key, image: model(image)


def augmented(key: Key[Array, ""], image: Image) -> Image:
    """The image turned by a random angle."""
    turn = sf.special_orthogonal(2).draw(key, image.dtype)
    return sf.images.push(turn, image)


def _canonicalized(
    network: Classifier, config: DigitsModelConfig, kind: ScoredKind
) -> Callable[[Image], Logits]:
    group = group_named(config.symmetrization_group)

    def frame(image: Image) -> sf.Frame:
        return sf.scored_frame(network.scores(image), group, kind=kind)

    return sf.frame_average(network, frame, **ACTIONS)
