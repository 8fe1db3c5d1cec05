"""Moving bodies in the file of a user."""

from pathlib import Path

import numpy as np


def write_bodies(path: Path, count: int) -> Path:
    """Writes `count` systems of five bodies for each split, drawn at random, and returns the path."""
    draw, arrays = np.random.default_rng(0), {}
    for split in ("train", "valid", "test"):
        for name in ("position", "velocity", "target"):
            arrays[f"{name}_{split}"] = draw.normal(size=(count, 5, 3)).astype(np.float32)
        arrays[f"charge_{split}"] = draw.choice([-1.0, 1.0], size=(count, 5)).astype(np.float32)
    np.savez(path, **arrays)
    return path
