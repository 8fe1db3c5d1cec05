"""Which frames are exact and continuous on which inputs: molecules, hard and tied clouds, paths.

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
from experiments.benchmarks.exactness.clouds import MOLECULES, Clouds, load_clouds
from experiments.benchmarks.exactness.laws import TOLERANCES, measure
from experiments.benchmarks.exactness.methods import METHODS, Method, backbone, compiled
from experiments.benchmarks.exactness.paths import SHOWN, energies, jumps, make_paths, shown_times
from experiments.benchmarks.exactness.report import report
from experiments.benchmarks.exactness.results import Evaluations, FrameResult, Results
from experiments.benchmarks.exactness.ties import count_ties
from experiments.benchmarks.options import add_out


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables; writes them, a picture and all errors if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: ase, which ships the molecules, is not installed.
    """
    options = _parser().parse_args(arguments)
    clouds = load_clouds(options.quick)
    console = Console()
    results: Results = {}
    with jax.enable_x64(True):
        for dtype in options.dtype or TOLERANCES:
            with console.status(f"{len(METHODS)} frames in {dtype}"):
                results[dtype] = measure_all(clouds, METHODS, dtype, 1 if options.quick else 2)
        evaluations, ties = count_evaluations(clouds), count_ties(options.quick)
    report(results, evaluations, ties, clouds, console, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_out(parser, "the tables, all errors and a picture")
    parser.add_argument(
        "--dtype", action="append", choices=list(TOLERANCES), help="this one alone; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="six clouds of each kind")
    return parser


def measure_all(
    clouds: Clouds, methods: Mapping[str, Method], dtype: str, samples: int
) -> dict[str, FrameResult]:
    """Holds every frame against every law and path; float64 has to be enabled.

    Args:
      clouds: the inputs.
      methods: the frames by name.
      dtype: what they compute in.
      samples: random motions of each kind.

    Returns:
      The errors, by the name of the frame.
    """
    paths = make_paths()
    shown = {SHOWN: paths[SHOWN]}
    results = {}
    for name, (wrap, wrap_tensors) in methods.items():
        run = compiled(wrap(backbone), dtype)
        run_tensors = run if wrap_tensors is None else compiled(wrap_tensors(backbone), dtype)
        along = compiled(wrap(backbone), dtype, energy_alone=True)
        results[name] = FrameResult(
            laws=measure(run, run_tensors, clouds, dtype, samples),
            jumps=jumps(along, paths),
            energies=energies(along, shown, shown_times()[None])[0],
        )
    return results


def count_evaluations(clouds: Clouds) -> Evaluations:
    """The evaluations of the backbone that robust frames take for each molecule.

    Args:
      clouds: the inputs, of which the molecules count.
    """
    molecules = np.array(clouds.kinds) == MOLECULES
    points, mask, species = (
        leaf[molecules] for leaf in (clouds.points, clouds.mask, clouds.species)
    )

    def elements(group: Any, points: Array, mask: Array, attributes: Array) -> Array:
        frame = partial(sf.robust_frame, group=group, attributes=attributes)
        return sf.frame_diagnostics(frame, points, mask).num_elements

    counts = {}
    for group in ("E", "SE"):
        count = jax.jit(jax.vmap(partial(elements, group)))
        # Atoms that are all of one kind are told apart by their positions alone.
        for name, attributes in (("", np.ones_like(species)), (", species", species)):
            counts[f"robust{name}, {group}(3)"] = np.asarray(count(points, mask, attributes))
    return counts
