"""From clouds to subjects of an audit: their arguments, first evaluations and typical sizes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from symjax_frames._checks import describe
from symjax_frames.testing._audit.probe import Probe
from symjax_frames.testing._audit.slopes import slope_norm
from symjax_frames.testing._audit.subject import Subject, floored


def prepare(
    probe: Probe,
    clouds: Mapping[str, Any],
    arguments: Callable[[Any], tuple] | None,
    seed: list[int],
    shifts: bool,
) -> dict[str, Subject]:
    """A subject for each cloud, evaluated and differentiated once.

    Args:
      probe: evaluates the function.
      clouds: as in `audit`.
      arguments: as in `audit`.
      seed: the seed of all random draws.
      shifts: whether the group has shifts.

    Raises:
      ValueError: if the arguments cannot be made, hold no cloud, or the function raises for them.
    """
    subjects = {}
    for number, (name, given) in enumerate(clouds.items()):
        try:
            args = make_arguments(given, arguments, probe.dtype)
            layout, moved, fixed = probe.split(args)
            _check_cloud(moved)
            outputs = probe.outline(args)
        except Exception as error:
            # The function may raise anything, and only the name of the cloud says for which input.
            raise ValueError(f"cloud {name!r}: {error or type(error).__name__}") from error
        rng = np.random.default_rng([*seed, number])
        subjects[name] = Subject(probe, layout, moved, fixed, outputs, rng, shifts)
    all_subjects = list(subjects.values())
    counts = {len(subject.outputs) for subject in all_subjects}
    if len(counts) > 1:
        raise ValueError(f"fn must return as many arrays for every cloud, got {sorted(counts)}")
    by_point = tuple(
        all(s.outputs[index].shape[:1] == s.moved[0].shape[:1] for s in all_subjects)
        for index in range(counts.pop())
    )
    for subject in all_subjects:
        subject.layout = subject.layout._replace(row_outputs=by_point)
        subject.base = subject.values()
    _set_sizes(all_subjects)
    return subjects


def make_arguments(given: Any, arguments: Callable[[Any], tuple] | None, dtype: Any) -> tuple:
    """The arguments made from what is given as a cloud, its floating arrays in `dtype`."""

    def cast(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray | jax.Array) and np.issubdtype(leaf.dtype, np.floating):
            return np.asarray(leaf, dtype)
        return leaf

    given = jax.tree.map(cast, given)
    args = (given,) if arguments is None else arguments(given)
    if not isinstance(args, tuple):
        raise ValueError(f"arguments must return a tuple of arguments, got {describe(args)}")
    return args


def _check_cloud(moved: list[np.ndarray]) -> None:
    if not moved:
        raise ValueError("in_actions must move an argument, the cloud, got none that moves")
    if moved[0].ndim != 2 or moved[0].size == 0:
        raise ValueError(
            "the first argument that moves must be a cloud of shape (points, dim), got shape "
            f"{moved[0].shape}"
        )
    if not all(np.all(np.isfinite(leaf)) for leaf in moved):
        raise ValueError("its coordinates must be finite")


def _set_sizes(all_subjects: list[Subject]) -> None:
    extents = [float(np.max(np.abs(subject.cloud))) for subject in all_subjects]
    by_output = [
        floored([float(np.max(np.abs(s.base[index]), initial=0.0)) for s in all_subjects], extents)
        for index in range(len(all_subjects[0].base))
    ]
    for subject, sizes in zip(all_subjects, zip(*by_output, strict=True), strict=True):
        subject.set_sizes(list(sizes))
    # A slope is taken by coordinates in units of the cloud's size: no extent enters.
    slopes = floored([slope_norm(s) for s in all_subjects], [1.0] * len(all_subjects))
    for subject, slope in zip(all_subjects, slopes, strict=True):
        subject.slope_size = slope
