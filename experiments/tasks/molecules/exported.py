"""A potential that was exported: programs in a file, run without their network and without Flax."""

import io
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Int

from experiments.errors import UsageError
from experiments.frame_room import Room
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.energies import Evaluation, Precision, enabled, memory_of
from experiments.tasks.molecules.export_file import read_file, unpacked
from experiments.tasks.molecules.networks.neighbour_table import Surroundings

WEIGHTS = "weights"
"""The part of a file that is no program: the parameters, which the programs share."""


class ExportedPotential:
    """The energy of a trained potential, its forces and its stress, as compiled from a file.

    There is a program for each precision, for any number of atoms and of neighbours: the numbers are
    symbols in it, and it is compiled once for each pair of them. Frames, spreads and the weight that
    had no room are as those of the run. Where all atoms have one frame, they are the neighbours of
    each other within the cutoff all the same: of them a table is made outside of JAX,
    by `NeighbourList(potential.cutoff)`.

    It can be pickled, as the contents of its file.

    Args:
      path: of the file, for errors.
      content: what it holds.

    Attributes:
      head: what the file says of itself: units, elements, references, JAX and platforms, among others.
      facts: the elements and the references in eV, which are added outside of JAX.
      reach: how far an atom sees in Angstrom; `None` of a potential of whole molecules.
      cutoff: in Angstrom, within which atoms are in the table of neighbours.
      precisions: of the programs.

    Raises:
      UsageError: as of `unpacked`, or this JAX cannot read the programs.
    """

    def __init__(self, path: str | os.PathLike[str], content: bytes) -> None:
        self._made_of = os.fspath(path), content
        self.head, parts = unpacked(path, content)
        facts = self.head["facts"]
        self.facts = MoleculeFacts(
            tuple(facts["elements"]),
            tuple(facts["references"]),
            facts["scale"],
            tuple(map(tuple, facts["undetermined"])),
        )
        self.reach: float | None = self.head["reach"]
        self.cutoff: float = self.head["cutoff"]
        self.precisions: list[Precision] = self.head["dtypes"]
        # In double precision too, whatever this process computes in.
        with np.load(io.BytesIO(parts[WEIGHTS]), allow_pickle=False) as arrays, enabled("float64"):
            self._weights = [jnp.asarray(array) for array in arrays.values()]
        try:
            programs = {
                name: export.deserialize(bytearray(parts[name])) for name in self.precisions
            }
        except ImportError:  # Of a package that JAX needs for it, which it names.
            raise
        except Exception as error:  # JAX says in many ways that a program is too old or too new.
            raise UsageError(
                f"{path}: must hold programs that JAX {jax.__version__} can read, got those of JAX "
                f"{self.head['jax']}: {' '.join(str(error).split())[:300]}"
            ) from None
        self._programs = {name: jax.jit(program.call) for name, program in programs.items()}

    def __call__(
        self,
        positions: np.ndarray,
        species: np.ndarray,
        surroundings: Surroundings,
        dtype: Precision = "float32",
    ) -> Evaluation:
        """The energy above the reference and its derivatives.

        Args:
          positions: `(atoms, 3)` in Angstrom, as `NeighbourList` returns them.
          species: of `species_of`; 0 for padding, which comes last and has no neighbours.
          surroundings: what each atom sees, as `NeighbourList` returns it.
          dtype: what is computed in.

        Raises:
          UsageError: there is no program of this precision.
        """
        program = self._program(dtype)
        with enabled(dtype):
            found = program(*self._inputs(positions, species, surroundings, dtype))
        found = jax.device_get(found)
        room, others = Room(*found["room"]), found["others"]
        return Evaluation(found["energy"], found["slope"], others, 0, room, found["stress"])

    def memory(
        self,
        positions: np.ndarray,
        species: np.ndarray,
        surroundings: Surroundings,
        dtype: Precision = "float32",
    ) -> int:
        """The bytes that a call with the same arguments takes; zero if the backend cannot tell."""
        program = self._program(dtype)
        with enabled(dtype):
            return memory_of(program.lower(*self._inputs(positions, species, surroundings, dtype)))

    def species_of(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        """As `MoleculeFacts.species_of`."""
        return self.facts.species_of(numbers)

    def reference(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """As `MoleculeFacts.reference`."""
        return self.facts.reference(numbers)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """What it is pickled as."""
        return ExportedPotential, self._made_of

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedPotential":
        """Itself: nothing in it changes, and to compile takes seconds."""
        return self

    def _program(self, dtype: Precision) -> Any:
        if dtype not in self._programs:
            raise UsageError(
                f"dtype must be one of {', '.join(self._programs)}, which {self._made_of[0]} has "
                f"programs of, got {dtype!r}"
            )
        return self._programs[dtype]

    def _inputs(
        self,
        positions: np.ndarray,
        species: np.ndarray,
        surroundings: Surroundings,
        dtype: Precision,
    ) -> tuple[Any, ...]:
        senders, images, cell = surroundings
        return (
            self._weights,
            np.asarray(positions, dtype),
            *(np.asarray(integers, np.int32) for integers in (species, senders, images)),
            np.asarray(cell, dtype),
        )


def load_exported(path: str | os.PathLike[str]) -> ExportedPotential:
    """The potential of a file that the command `export` has written.

    Args:
      path: the file.

    Raises:
      UsageError: it cannot be read, and as of `ExportedPotential`.
    """
    return ExportedPotential(path, read_file(path))
