"""The command `export`: writes a trained potential as one file of programs."""

import argparse
from pathlib import Path

from experiments.commands.command import Command, make_console
from experiments.tasks.molecules.commands.seed import add_seed


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run on molecules")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the file to write")
    add_seed(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def _run(options: argparse.Namespace) -> None:
    from experiments.runs.folder import RunFolder
    from experiments.tasks.molecules.export_file import refuse_existing, write_file

    refuse_existing(options.out, options.overwrite)
    folder = RunFolder(options.run)
    folder.load_config()
    from experiments.tasks.molecules.exporting import exported_bytes
    from experiments.tasks.molecules.stored import load_potential

    content = exported_bytes(*load_potential(folder, options.seed))
    # What was not there may be by now.
    refuse_existing(options.out, options.overwrite)
    write_file(options.out, content)
    make_console().print(
        f"wrote {options.out}: energies (eV), forces (eV/Angstrom) and, of crystals, stresses "
        f"(eV/Angstrom^3), as programs in {len(content) / 2**20:.2g} MiB that need no network",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


COMMAND = Command(
    "export",
    "write a trained potential as one file that needs neither the run nor Flax",
    _add_arguments,
    _run,
    "Writes the energy, forces and stress of a run as programs of jax.export, in single and double "
    "precision, for CPU, CUDA and TPU and for any number of atoms. load_exported of "
    "experiments.tasks.molecules.exported reads them.",
)
