"""What a run has left behind."""

import json
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp


def result(folder: Path) -> tuple[list[dict], dict[str, bytes]]:
    """The metrics without the clock, and the bits of every array of the last checkpoint."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["seconds"]
    # Not what a killed process has left half written.
    folders = (path for path in (folder / "run" / "checkpoints").iterdir() if path.is_dir())
    newest = max(path for path in folders if path.name.isdigit())
    arrays = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(newest)
    return records, {name: np.asarray(array).tobytes() for name, array in arrays.items()}
