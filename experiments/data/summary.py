"""What a data set is in a few numbers, which tell another one from it."""

from collections.abc import Mapping

import numpy as np

_ROWS = 2**14
"""Examples that are looked at together."""


def summary_of(splits: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, list[float]]:
    """Of each array of each split its length, mean, root mean square, and mean with rising weights.

    The last one changes with the order of the examples. In parts, of arrays that are mapped from
    files too.

    Args:
      splits: arrays with a leading axis of examples.
    """
    return {
        f"{split}.{name}": _summary(array)
        for split, arrays in splits.items()
        for name, array in arrays.items()
    }


def _summary(array: np.ndarray) -> list[float]:
    count, sums = len(array), np.zeros(3)
    for start in range(0, count, _ROWS):
        rows = np.asarray(array[start : start + _ROWS], np.float64).reshape(-1, array[0].size)
        places = (np.arange(start, start + len(rows)) + 1) / count
        means = rows.mean(axis=1)
        sums += means.sum(), (rows**2).mean(axis=1).sum(), places @ means
    mean, square, weighted = (sums / max(count, 1)).tolist()
    return [float(count), mean, square**0.5, weighted]
