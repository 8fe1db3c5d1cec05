"""Which frames are exact and continuous on which inputs: the molecules of G2, hard clouds, and paths.

Run with `python -m experiments benchmark exactness --out DIR`.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks import _exactness_paths as along
from experiments.benchmarks._exactness_laws import TOLERANCES, measure
from experiments.benchmarks._exactness_methods import METHODS, Method, backbone, compiled
from experiments.benchmarks._exactness_record import Evaluations, Found, Results
from experiments.benchmarks._exactness_report import report
from experiments.benchmarks._g2 import MOLECULES, Clouds, load_clouds
from experiments.benchmarks._options import new_folder
from experiments.errors import ExperimentError


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables; writes them, a picture and all errors if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        clouds = load_clouds(options.quick)
    except ExperimentError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    console = Console()
    results: Results = {}
    with jax.enable_x64(True):
        for dtype in options.dtype or TOLERANCES:
            with console.status(f"{len(METHODS)} frames in {dtype}"):
                results[dtype] = measure_all(clouds, METHODS, dtype, 1 if options.quick else 2)
        evaluations = count_evaluations(clouds)
    report(results, evaluations, clouds, console, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=new_folder, help="the folder to write tables, picture and errors in"
    )
    parser.add_argument(
        "--dtype", action="append", choices=list(TOLERANCES), help="this one alone; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="six clouds of each kind")
    return parser


def measure_all(
    clouds: Clouds, methods: Mapping[str, Method], dtype: str, samples: int
) -> dict[str, Found]:
    """Holds every frame against every law and path; float64 has to be enabled.

    Args:
      clouds: the inputs.
      methods: the frames by name.
      dtype: what they compute in.
      samples: random motions of each kind.

    Returns:
      What was found, by the name of the frame.
    """
    paths = along.make_paths()
    shown = {along.SHOWN: paths[along.SHOWN]}
    results = {}
    for name, (wrap, wrap_tensors) in methods.items():
        run = compiled(wrap(backbone), dtype)
        run_tensors = run if wrap_tensors is None else compiled(wrap_tensors(backbone), dtype)
        results[name] = Found(
            laws=measure(run, run_tensors, clouds, dtype, samples),
            jumps=along.jumps(run, paths),
            energies=along.energies(run, shown, along.places()[None])[0],
        )
    return results


def count_evaluations(clouds: Clouds) -> Evaluations:
    """The evaluations of the backbone that robust frames take for each molecule.

    Args:
      clouds: the inputs, of which the molecules count.
    """
    molecules = np.array(clouds.kinds) == MOLECULES
    data = [leaf[molecules] for leaf in (clouds.points, clouds.mask, clouds.species)]

    def elements(group: Any, species: bool, points: Array, mask: Array, numbers: Array) -> Array:
        frame = partial(sf.robust_frame, group=group, attributes=numbers if species else None)
        return sf.frame_diagnostics(frame, points, mask).num_elements

    return {
        f"robust{', species' * species}, {group}(3)": np.asarray(
            jax.jit(jax.vmap(partial(elements, group, species)))(*data)
        )
        for group in ("E", "SE")
        for species in (False, True)
    }


if __name__ == "__main__":
    main()
