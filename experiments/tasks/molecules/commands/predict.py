"""The command `predict`: writes energies and forces of the molecules of a file."""

import argparse
from pathlib import Path

from experiments.commands.command import Command, make_console
from experiments.tasks.molecules.commands.seed import add_seed
from experiments.tasks.molecules.commands.split import add_split


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run on molecules")
    parser.add_argument("file", metavar="FILE", help="anything that ase reads, or .npz")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="by default FILE_predicted.extxyz beside FILE"
    )
    add_seed(parser)
    add_split(parser)
    parser.add_argument(
        "--ignore-cells", action="store_true", help="take periodic snapshots for molecules"
    )
    parser.add_argument("--float64", action="store_true", help="in double precision")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def _run(options: argparse.Namespace) -> None:
    from experiments.runs.folder import RunFolder

    folder = RunFolder(options.run)
    folder.load_config()
    from experiments.tasks.molecules.predict import predict
    from experiments.tasks.molecules.stored import load_potential

    potential, params = load_potential(folder, options.seed)
    source = Path(options.file)
    output = options.out or source.with_name(f"{source.stem}_predicted.extxyz")
    predict(
        potential,
        params,
        source,
        output,
        make_console(),
        split=options.split,
        overwrite=options.overwrite,
        ignore_cells=options.ignore_cells,
        dtype="float64" if options.float64 else "float32",
    )


COMMAND = Command(
    "predict",
    "write energies, forces and stresses of the structures of a file",
    _add_arguments,
    _run,
    "Writes the energy and forces of every structure of a file, and the stress of periodic ones, as "
    "extended XYZ, in eV and Angstrom. A snapshot that cannot be read or predicted costs no other.",
)
