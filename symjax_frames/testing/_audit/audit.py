"""The audit of a function: everything that can be wrong with its symmetry is measured."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from symjax_frames._checks import check_key, check_positive, describe
from symjax_frames._types import Action
from symjax_frames.actions import points
from symjax_frames.frames import GroupName
from symjax_frames.testing._audit.degrees import DegreeRule
from symjax_frames.testing._audit.laws import (
    largest_jumps,
    symmetry_errors,
)
from symjax_frames.testing._audit.moves import crossing_paths, straight_paths
from symjax_frames.testing._audit.prepare import prepare
from symjax_frames.testing._audit.probe import Permute, Probe
from symjax_frames.testing._audit.record import Audit, CloudAudit
from symjax_frames.testing._audit.retraces import count_retraces
from symjax_frames.testing._audit.slopes import asymmetry, balance, find_forces, gradient_error
from symjax_frames.testing._audit.subject import Subject
from symjax_frames.testing._clouds import generic_cloud, hard_clouds

_ROUNDED = 1000
"""A relative error of at most this many roundings of the cloud is put down to rounding."""


def audit(
    fn: Callable[..., PyTree[Array]],
    clouds: Mapping[str, Any] | None = None,
    *,
    arguments: Callable[[Any], tuple] | None = None,
    in_actions: PyTree[Action | None] = points,
    out_actions: PyTree[Action | None] = None,
    key: Key[Array, ""],
    group: GroupName = "E",
    dtype: Any = None,
    permutes: Permute = True,
    max_degree: int = 4,
    batch_size: int = 64,
) -> Audit:
    r"""Measures how far a function of point clouds breaks its symmetry, on generic and hard clouds.

    `fn` may be any callable: a network on its own, to see how far from equivariant it is, or an
    average. See `CloudAudit` for what is measured. A finite input that gives a NaN is reported and
    does not raise.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.testing import audit
      >>> cloud = jax.random.normal(jax.random.key(0), (4, 3))
      >>> report = audit(lambda x: x[0, 0] - x[1, 0], {"four points": cloud}, key=jax.random.key(1))
      >>> [round(part, 3) for part in report.clouds[0].degrees]  # of a vector
      [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
      >>> report  # doctest: +ELLIPSIS
      <Audit of 1 cloud, E, float32: 4 times a law is broken, most by four points: orders ...>

    Args:
      fn: the function under audit, of positional arguments.
      clouds: the inputs by name, clouds of shape `(points, dim)` or whatever `arguments` takes. By
        default two `generic_cloud`s and the `hard_clouds`, without those on another scale of
        length.
      arguments: makes the tuple of arguments of `fn` (velocities, species, masks) from one of
        `clouds`, whose floating arrays it gets in `dtype`. The first argument that moves is the
        cloud. By default the cloud is the only argument.
      in_actions: how the group moves the arguments, as in `frame_average`.
      out_actions: how it moves the outputs.
      key: draws elements, paths and directions.
      group: the group that `fn` is to be equivariant to: `"T"`, `"O"`, `"SO"`, `"E"` or `"SE"`.
        The same is measured for each; with O and SO, rotations are about the origin.
      dtype: the dtype of floating arguments, `float` by default: float64 if JAX allows it.
      permutes: whether another order of the points should change nothing but the order of the
        outputs. Reordered are all arguments whose first axis counts points, or what the function
        `permutes(order, arguments)` reorders. Outputs are ordered back if their first axis counts
        points for every cloud.
      max_degree: the highest degree told apart in the change under rotations.
      batch_size: how many inputs are evaluated at a time.

    Returns:
      The measurements.

    Raises:
      ValueError: if an option is not of its kind, the actions do not fit, or `fn` cannot be called;
        the message names the cloud.
    """
    if not callable(fn):
        raise ValueError(f"fn must be callable, got {type(fn).__name__}")
    if group not in get_args(GroupName):
        raise ValueError(f"group must be one of {', '.join(get_args(GroupName))}, got {group!r}")
    check_positive("max_degree", max_degree)
    check_positive("batch_size", batch_size)
    check_key("key", key)
    requested = jax.dtypes.canonicalize_dtype(float) if dtype is None else jnp.dtype(dtype)
    dtype = jax.dtypes.canonicalize_dtype(requested)
    if not jnp.issubdtype(requested, jnp.floating) or dtype != requested:
        raise ValueError(
            f"dtype must be floating, and float64 needs jax_enable_x64; got {requested}"
        )
    if clouds is None:
        few, many = jax.random.split(key)
        generic = {"generic": generic_cloud(few, 6, 3), "large generic": generic_cloud(many, 12, 3)}
        clouds = {name: np.asarray(cloud) for name, cloud in generic.items()}
        # Of clouds on a very different scale, a continuous function may look like a step.
        clouds |= {k: cloud for k, cloud in hard_clouds().items() if not k.startswith("scale")}
    if not isinstance(clouds, Mapping):
        raise ValueError('clouds must be named, such as {"water": cloud}, got ' + describe(clouds))
    if not clouds:
        raise ValueError("clouds must hold at least one cloud, got none")
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    probe = Probe(fn, in_actions, out_actions, permutes, dtype, batch_size)
    with np.errstate(all="ignore"):
        subjects = prepare(probe, clouds, arguments, seed, shifts=group in ("T", "E", "SE"))
        dims = {len(subject.centre) for subject in subjects.values()}
        rules = {dim: DegreeRule(dim, max_degree) for dim in dims if dim in (2, 3)}
        measured = tuple(_measure(name, subject, rules) for name, subject in subjects.items())
    first = next(iter(subjects.values()))
    return Audit(
        group=group,
        dtype=str(jnp.dtype(dtype)),
        output_dtypes=tuple(str(jnp.dtype(output.dtype)) for output in first.outputs),
        retraces=count_retraces(fn, [first.arguments(1 + 0.01 * call) for call in range(4)]),
        separates_mirror_images=_separates_mirror_images(measured),
        clouds=measured,
    )


def assert_audit(
    fn: Callable[..., PyTree[Array]],
    clouds: Mapping[str, Any] | None = None,
    *,
    tolerance: float | None = None,
    **options: Any,
) -> Audit:
    """Asserts that `fn` obeys every law of its group on every cloud.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax_frames.testing import assert_audit
      >>> def spread(x):
      ...     return jnp.mean((x - jnp.mean(x, axis=0, keepdims=True)) ** 2)
      >>> cloud = jax.random.normal(jax.random.key(0), (4, 3))
      >>> report = assert_audit(spread, {"four points": cloud}, key=jax.random.key(1))

    Args:
      fn: as in `audit`.
      clouds: as in `audit`.
      tolerance: as in `Audit.failures`.
      **options: the keyword arguments of `audit`.

    Returns:
      The audit.

    Raises:
      AssertionError: if a law is broken; the message has a line for each measure that is too large.
      ValueError: as `audit`.
    """
    report = audit(fn, clouds, **options)
    failures = report.failures(tolerance)
    if failures:
        heading = f"not equivariant to {report.group} in every respect:"
        raise AssertionError("\n  ".join([heading, *failures]))
    return report


def _measure(name: str, subject: Subject, rules: Mapping[int, DegreeRule]) -> CloudAudit:
    dim = len(subject.centre)
    crossings = crossing_paths(subject.moved, subject.centre)
    forces = find_forces(subject)
    net_force, net_torque = (None, None) if forces is None else balance(subject, forces)
    symmetry = symmetry_errors(subject)
    straight = straight_paths(subject.rng, subject.moved)
    jumps = largest_jumps(subject, {"jump": straight, "crossing": crossings})
    gradient = gradient_error(subject)
    degrees = rules[dim].parts(subject) if dim in rules else None
    return CloudAudit(
        name=name,
        points=len(subject.cloud),
        rounding=subject.rounding,
        proper=symmetry["proper"],
        improper=symmetry["improper"],
        translation=symmetry["translation"],
        permutation=symmetry.get("permutation"),
        jump=jumps["jump"],
        crossing=jumps.get("crossing"),
        gradient=gradient,
        net_force=net_force,
        net_torque=net_torque,
        asymmetry=None if forces is None else asymmetry(subject, forces),
        degrees=degrees,
        nonfinite_values=subject.nonfinite_values,
        nonfinite_gradients=subject.nonfinite_gradients,
    )


def _separates_mirror_images(clouds: tuple[CloudAudit, ...]) -> bool | None:
    invariant = [cloud for cloud in clouds if cloud.proper <= _ROUNDED * cloud.rounding]
    if not invariant:
        return None
    return any(cloud.improper > 10 * _ROUNDED * cloud.rounding for cloud in invariant)
