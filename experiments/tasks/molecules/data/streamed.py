"""Sets of molecules of which the training set stays in files, however large it is."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.data.cache import Arrays
from experiments.data.kept import changed, kept_files
from experiments.data.mapped import mapped_arrays, write_rows
from experiments.data.npz import DataError, refuse_unreadable
from experiments.tasks.molecules.data.copies import warn_of_copies
from experiments.tasks.molecules.data.draw import Place, Pool, drawn
from experiments.tasks.molecules.data.examples import example_windows, plan_examples
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.data.staged import stage
from experiments.tasks.molecules.data.windows import Wanted, molecule_windows

_FORMAT = 1  # To be raised when the meaning or the values of the files change.
_ROWS = 256
"""Snapshots that are in memory at a time."""
_FACTS = "facts.json"


def streamed_molecules(
    places: Mapping[str, Place],
    wanted: Wanted,
    counts: Mapping[str, int],
    *,
    seed: int,
    species_key: str | None,
    cache: str | os.PathLike[str],
) -> tuple[dict[str, Arrays], MoleculeFacts]:
    """The sets of `load_molecules`, with the training set mapped from files that are made once.

    They are verified by their digest each time, and made again if a source has changed since.
    Snapshots that come twice, and validation and test snapshots that are trained on, are warned of
    when files are made.

    Args:
      places: where each of `"train"`, `"valid"` and `"test"` comes from.
      wanted: what is read.
      counts: how many snapshots each set has.
      seed: of the order of the snapshots of a file.
      species_key: what `.npz` files call the atomic numbers.
      cache: the folder in which there is a folder for these files.

    Raises:
      DataError: a defect of a source, or a cache folder that cannot be written.
    """
    for path, _ in places.values():
        refuse_unreadable(path, "a readable file with molecules")
    whole_paths = {split: (str(Path(path).resolve()), end) for split, (path, end) in places.items()}
    settings = {
        "format": _FORMAT,
        "places": whole_paths,
        "wanted": wanted,
        "counts": dict(counts),
        "seed": seed,
        "species_key": species_key,
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path, _ = places["train"]
    folder = Path(cache) / f"{Path(path).stem}-{key}"
    source = settings | {"changed": [changed(path) for path, _ in places.values()]}

    def make(files: Path, scratch: Path) -> None:
        Console(stderr=True).print(
            f"{path}: is converted into {folder}, once", soft_wrap=True, markup=False
        )

        def read(path: str, split: str | None) -> Pool:
            own = scratch / str(len(list(scratch.iterdir())))
            members = own / "members"
            members.mkdir(parents=True)
            with closing(
                molecule_windows(*(path, wanted, split, species_key), rows=_ROWS, scratch=members)
            ) as windows:
                staged = stage(path, (molecules for molecules, _ in windows), wanted.needed(), own)
            return Pool(len(staged.offsets) - 1, staged.at)

        parts = drawn(places, read, counts, seed, _ROWS)
        for split in ("valid", "test"):
            warn_of_copies(split, parts[split], parts["train"])
        plan = plan_examples(parts)
        for split, part in parts.items():
            (files / split).mkdir()
            write_rows(files / split, counts[split], example_windows(part, plan))
        (files / _FACTS).write_text(json.dumps(plan.facts._asdict()), "utf-8")

    try:
        with kept_files(folder, source, make) as files:
            splits = {split: mapped_arrays(files / split) for split in counts}
            facts = MoleculeFacts.of(json.loads((files / _FACTS).read_text("utf-8")))
    except OSError as error:
        raise DataError(
            f"{cache}: data.cache must be a folder that can be written, with room for the training "
            f"set, got {error}"
        ) from error
    for split in counts.keys() - {"train"}:
        splits[split] = {name: np.array(array) for name, array in splits[split].items()}
    return splits, facts
