"""From what a configuration says about frames to frames, and to the averages over them."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Real

import symjax_frames as sf
from experiments.config.choices import Draws, GroupName
from experiments.config.symmetry import FrameModelConfig

FrameOf = Callable[..., sf.Frame]
"""`(points, mask=None)` to a frame, as `symjax_frames.pca_frame`; or of other arguments."""

FRAME = "frame"
"""The axis of a mesh whose devices share the elements of an average that is evaluated."""

_PROPER = ("SO", "SE")


def make_frame(
    config: FrameModelConfig,
    *,
    attributes: Real[Array, " points"] | None = None,
    robust_closure: Literal["signs", "octahedral"] = "signs",
) -> FrameOf:
    """The frame that a configuration asks for, closed as it says.

    Args:
      config: the model section of a configuration.
      attributes: numbers that tell points apart, for a robust frame.
      robust_closure: what closes a robust frame: `"octahedral"` for tensors, whose entries the
        signs of the axes leave undetermined on a line.

    Returns:
      A function of points and of a mask. Without a frame it gives the identity at the centroid.
    """
    match config.frame:
        case "pca":
            frame = functools.partial(sf.pca_frame, group=config.group, detach=config.detach)
            return _closed(frame, config)
        case "robust":
            assert config.group != "T", "configurations refuse it"
            return functools.partial(
                sf.robust_frame,
                group=config.group,
                capacity=config.capacity,
                max_elements=config.max_elements,
                threshold=config.threshold,
                closure=robust_closure,
                attributes=attributes,
                detach=config.detach,
            )
        case "quadrature":
            return functools.partial(
                _quadrature_frame, group=config.group, degree=config.quadrature_degree
            )
    return functools.partial(sf.pca_frame, group="T")


def _closed(frame: FrameOf, config: FrameModelConfig) -> FrameOf:
    proper = config.group in _PROPER
    flips = sf.signs(3, proper=proper)
    match config.closure:
        case "permutations":
            return sf.close(frame, sf.signed_permutations(3, proper=proper), already=flips)
        case "icosahedral":
            return sf.close(frame, sf.icosahedral(inversion=not proper), already=flips)
    return frame


def _quadrature_frame(
    points: Float[Array, "points 3"],
    mask: Bool[Array, " points"] | None = None,
    *,
    group: GroupName,
    degree: int,
) -> sf.Frame:
    """The same rotations for every cloud, about its centroid for the groups with translations."""
    rotations = sf.special_orthogonal(3) if group in _PROPER else sf.orthogonal(3)
    rule = sf.quadrature(rotations, degree, points.dtype)
    if group in ("O", "SO"):
        return rule
    centroid = sf.pca_frame(points, mask, group="T").elements.shift
    shift = jnp.broadcast_to(centroid, rule.elements.shift.shape)
    return sf.Frame(sf.Isometry(rule.elements.linear, shift), rule.weights)


def evaluated[Output](
    fn: Callable[..., Output],
    config: FrameModelConfig,
    frame: FrameOf | None = None,
    **actions: Any,
) -> Callable[..., Output]:
    """A network as it is evaluated: averaged over its whole frame, if it has one.

    Args:
      fn: the network.
      config: the model section of a configuration.
      frame: what to average over instead of `make_frame(config)`, if the configuration has a frame.
      actions: `in_actions`, `out_actions` and `frame_argnums` of `symjax_frames.frame_average`.

    Returns:
      A function with the signature of `fn`. On a mesh with an axis `frame` of several devices
      each of them evaluates its share of the elements.
    """
    if config.frame == "none":
        return fn
    devices = jax.sharding.get_abstract_mesh().shape.get(FRAME, 1)
    axis = FRAME if devices > 1 else None
    return sf.frame_average(fn, frame or make_frame(config), spmd_axis_name=axis, **actions)


def evaluated_batch[Output](
    fn: Callable[..., Output],
    config: FrameModelConfig,
    frame: FrameOf | None = None,
    **actions: Any,
) -> Callable[..., Output]:
    """The same network for a batch, along the first axes of its arguments.

    Of robust frames it evaluates only the elements that have a weight.

    Args:
      fn: the network.
      config: the model section of a configuration.
      frame: as for `evaluated`.
      actions: as for `evaluated`.
    """
    if config.frame != "robust":
        return jax.vmap(evaluated(fn, config, frame, **actions))
    return sf.batch_average(fn, frame or make_frame(config), **actions)


def trained[Output](
    fn: Callable[..., Output],
    config: FrameModelConfig,
    frame: FrameOf | None = None,
    *,
    constant_weights: bool = False,
    **actions: Any,
) -> Callable[..., Output]:
    """A network as it is trained: averaged, sampled, or shown inputs that are turned at random.

    Args:
      fn: the network.
      config: the model section of a configuration.
      frame: what to average over instead of `make_frame(config)`, if the configuration has a frame.
      constant_weights: whether the weights of elements that are drawn count as constants in
        derivatives.
      actions: as for `evaluated`.

    Returns:
      A function of a random key and of the arguments of `fn`.
    """
    if config.frame == "none" and config.augmentation != "none":
        reflected = config.augmentation == "reflections"
        group = sf.orthogonal(3) if reflected else sf.special_orthogonal(3)
        actions.pop("frame_argnums", None)
        return sf.sampled_average(fn, group, **actions)
    if config.frame != "none" and config.training_average == "sampled":
        source = frame or make_frame(config)
        if constant_weights:
            source = _with_constant_weights(source)
        draws = _draws(config)
        return sf.sampled_average(
            fn, source, num_samples=config.num_samples, draws=draws, **actions
        )
    model = evaluated(fn, config, frame, **actions)
    return lambda key, *args: model(*args)


def _draws(config: FrameModelConfig) -> Draws | sf.Group:
    """How elements are drawn: two of a robust frame with reflections are mirror images."""
    reflects = config.frame == "robust" and config.group in ("O", "E")
    if config.draws == "systematic" and reflects and config.num_samples == 2:
        # It has both signs of the last axis, with the same weight. Of more elements both are drawn
        # anyway, and pairs would follow the weights more coarsely.
        return sf.groups.from_generators("reflection", [np.diag([1.0, 1.0, -1.0])])
    return config.draws


def _with_constant_weights(frame: FrameOf) -> FrameOf:
    def constant(*args: Array) -> sf.Frame:
        made = frame(*args)
        return made._replace(weights=jax.lax.stop_gradient(made.weights))

    return constant
