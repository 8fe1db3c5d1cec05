"""Checkpoints: written whole or not at all, and verified when they are read."""

import json
import shutil
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from experiments.errors import ExperimentError
from experiments.files import digest_arrays, digest_files, write_whole

_FLOATS = {np.dtype("float32"), np.dtype("float64")}
"""Either stands for the other: sums and metrics are longer where JAX_ENABLE_X64 is set."""


class Checkpoints:
    """The checkpoints in a folder, one subfolder a step.

    A checkpoint holds the arrays of a pytree by name. Beside it stands a file with the SHA-256 of
    its files and of its arrays, written last: a checkpoint without it does not count, so that a
    process killed at any moment leaves whole checkpoints only.

    Args:
      folder: where the checkpoints are.
      keep: number of checkpoints kept; older ones are deleted after a save.
    """

    def __init__(self, folder: Path, keep: int = 1):
        self._folder = folder.absolute()
        self._keep = keep

    @cached_property
    def _checkpointer(self) -> Any:
        # It takes part of a second, which the first steps need not wait for.
        import orbax.checkpoint as ocp

        # Every process has all of a state, so that none has to wait for another one.
        index = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=index,
            active_processes={index},
            barrier_sync_key_prefix=f"process_{index}",
        )
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        return ocp.Checkpointer(handler, multiprocessing_options=alone)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, the newest first."""
        stems = [path.stem for path in self._folder.glob("*.json")]
        return sorted((int(stem) for stem in stems if stem.isdigit()), reverse=True)

    def save(self, step: int, tree: PyTree) -> None:
        """Writes the checkpoint of a step and deletes those that are no longer kept."""
        import orbax.checkpoint as ocp

        arrays = _by_name(jax.device_get(tree))
        path, sums = self._path(step), self._sums(step)
        sums.unlink(missing_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._checkpointer.save(path, args=ocp.args.StandardSave(arrays), force=True)
        digests = {"files": digest_files(path), "arrays": digest_arrays(arrays, str)}
        write_whole(sums, json.dumps(digests) + "\n")
        self._delete_all_but(self.steps()[: self._keep])

    def restore(self, like: PyTree) -> PyTree | None:
        """Reads the newest checkpoint that is whole, with a warning for each newer one.

        Args:
          like: a pytree with the structure, shapes and dtypes to expect.

        Returns:
          The pytree, with NumPy arrays as leaves; `None` if there are no checkpoints.

        Raises:
          ExperimentError: if there are checkpoints and none of them is whole.
        """
        problems = []
        for step in self.steps():
            try:
                tree = self._read(step, like)
            # Damage surfaces as any of a dozen exceptions of orbax, tensorstore and json.
            except Exception as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                problems.append(f"checkpoint {self._path(step)} cannot be used: {reason[:300]}")
            else:
                for problem in problems:
                    warnings.warn(f"{problem}; going back to step {step}", stacklevel=2)
                return tree
        if problems:
            raise ExperimentError(
                "\n".join([*problems, "no checkpoint is left to go back to: remove the run folder"])
            )
        return None

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints after a step, which turned out to be damaged."""
        self._delete_all_but([kept for kept in self.steps() if kept <= step])

    def _path(self, step: int) -> Path:
        return self._folder / f"{step:09d}"

    def _sums(self, step: int) -> Path:
        return self._folder / f"{step:09d}.json"

    def _delete_all_but(self, steps: list[int]) -> None:
        kept = {self._path(step) for step in steps} | {self._sums(step) for step in steps}
        # Sums first: a checkpoint that is half deleted must not count.
        for path in sorted(self._folder.glob("[0-9]*"), key=lambda path: path.suffix != ".json"):
            if path in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _read(self, step: int, like: PyTree) -> PyTree:
        sums = json.loads(self._sums(step).read_text())
        # Before orbax sees it: its parallel readers print a page of errors for every damaged array.
        if digest_files(self._path(step)) != sums["files"]:
            raise ValueError("its files are not those that were written")
        arrays = self._checkpointer.restore(self._path(step))
        expected = _by_name(like)
        if set(arrays) != set(expected):
            names = ", ".join(sorted(set(arrays) ^ set(expected)))
            raise ValueError(f"either it or this program lacks the arrays {names}")
        for name, leaf in expected.items():
            array = arrays[name]
            fits = array.dtype == leaf.dtype or {array.dtype, leaf.dtype} == _FLOATS
            if array.shape != leaf.shape or not fits:
                raise ValueError(
                    f"{name} must be {leaf.dtype}{list(leaf.shape)}, got "
                    f"{array.dtype}{list(array.shape)}"
                )
        if digest_arrays(arrays, str) != sums["arrays"]:
            raise ValueError("its arrays are not those that were saved")
        leaves = [np.asarray(arrays[name], leaf.dtype) for name, leaf in expected.items()]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _by_name(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
