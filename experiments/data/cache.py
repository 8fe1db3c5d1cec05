"""Data that is generated once: kept in a file keyed by its parameters, verified when it is read."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from experiments.data.npz import DataError, read_npz, write_npz
from experiments.files import digest_arrays

Arrays = dict[str, np.ndarray]

_CHECKSUM, _PARAMETERS = "checksum", "parameters"


def cached(
    folder: str | os.PathLike[str],
    name: str,
    parameters: Mapping[str, Any],
    generate: Callable[[], Arrays],
) -> Arrays:
    """The arrays of `generate()`, called only where no intact file of them exists.

    A damaged file is reported on standard error and generated again.

    Args:
      folder: where the files are kept.
      name: the kind of data, the start of the file name.
      parameters: everything that the arrays depend on, with a format version; JSON values.
      generate: makes the arrays; the names `checksum` and `parameters` are taken.

    Returns:
      The arrays by name.

    Raises:
      DataError: the file cannot be written.
    """
    path = cache_path(folder, name, parameters)
    if path.exists():
        try:
            return _read_verified(path, parameters)
        except DataError as error:
            Console(stderr=True).print(
                f"{error}; generating it again", soft_wrap=True, markup=False
            )
    arrays = generate()
    stamp = {
        _CHECKSUM: np.array(digest_arrays(arrays)),
        _PARAMETERS: np.array(_canonical(parameters)),
    }
    write_npz(path, arrays | stamp)
    return arrays


def cache_path(folder: str | os.PathLike[str], name: str, parameters: Mapping[str, Any]) -> Path:
    """The file that holds the data of these parameters: `folder/name-<hash>.npz`."""
    key = hashlib.sha256(_canonical(parameters).encode()).hexdigest()[:16]
    return Path(folder) / f"{name}-{key}.npz"


def announced[Item](items: Sequence[Item], description: str) -> Iterator[Item]:
    """Iterates with a progress bar on standard error, or a few plain lines off a terminal."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, description=description, console=console)
        return
    quarters = {len(items) * quarter // 4 for quarter in range(1, 5)}
    for done, item in enumerate(items, start=1):
        yield item
        if done in quarters:
            line = f"{description}: {100 * done // len(items)} %"
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def _canonical(parameters: Mapping[str, Any]) -> str:
    return json.dumps(dict(parameters), sort_keys=True)


def _read_verified(path: Path, parameters: Mapping[str, Any]) -> Arrays:
    arrays = read_npz(path)
    stored = {name: str(arrays.pop(name, None)) for name in (_CHECKSUM, _PARAMETERS)}
    if stored[_CHECKSUM] != digest_arrays(arrays):
        raise DataError(f"{path}: the arrays do not match their checksum")
    if stored[_PARAMETERS] != _canonical(parameters):
        raise DataError(f"{path}: made with other parameters, {stored[_PARAMETERS]}")
    return arrays
