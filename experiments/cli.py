"""The command line: `python -m experiments train|evaluate|report|predict|audit|frames|benchmark`."""

import argparse
import ast
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.errors import ExperimentError, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

_SPLIT = "of an .npz file with several sets, the end of its arrays: test for R_test"

# Imports wait until a command is known to make sense: JAX and Orbax take seconds to load.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: what follows the program's name; by default what the process was started with.

    Returns:
      The exit code: 0 when all went well, 2 for a mistake in what was asked, 3 for a run whose loss
      stopped being finite, 130 for one that was interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            options.command(options)
    except InterruptedRunError as interruption:
        print(interruption, file=sys.stderr)
        return interruption.exit_code
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped at once; what was saved before is kept", file=sys.stderr)
        return 130
    return 0


def _train(options: argparse.Namespace) -> None:
    from experiments.load import load_config
    from experiments.run import RunFolder

    config = load_config(options.config, options.overrides)
    folder = RunFolder(config.run)
    with folder.training(config):
        from experiments.evaluate import evaluate, print_evaluation, stored_evaluation
        from experiments.session import make_task
        from experiments.train import train

        console = _console()
        result = stored_evaluation(folder)
        if result is not None and result["step"] == config.num_steps and folder.report.is_file():
            console.print(f"{folder.path} is finished; nothing to do", soft_wrap=True)
            print_evaluation(console, result)
            return
        task = make_task(config)
        facts = getattr(task, "facts", None)
        if facts is not None:
            folder.keep_facts(facts._asdict())
        state = train(config, folder, task, console)
        print_evaluation(console, evaluate(config, folder, task, state))
        from experiments.report import write_report

        console.print(f"report: {write_report(config, folder, task, state)}", soft_wrap=True)


def _evaluate(options: argparse.Namespace) -> None:
    from experiments.run import RunFolder

    folder = RunFolder(options.run)
    for assignment in options.overrides:
        # Other data could put training examples into the test set.
        if not assignment.startswith("model."):
            raise UsageError(
                f"command line: received {assignment!r}; allowed in an evaluation: keys of the "
                "section model, such as model.symmetrization=group"
            )
    config = folder.load_config(options.overrides)
    from experiments.evaluate import evaluate, load_state, measure, print_evaluation
    from experiments.session import make_task

    task = make_task(config)
    try:
        state = load_state(config, folder, task)
    except ExperimentError as error:
        if not options.overrides:
            raise
        # The first line says what is different; what follows is of damaged checkpoints.
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"command line: the weights in {folder.path} do not fit {' '.join(options.overrides)}; "
            f"allowed: what leaves the parameters as they are, such as another average ({reason})"
        ) from None
    if options.overrides:
        # What is stored belongs to the configuration that is stored.
        result = measure(config, task, state)
    else:
        result = evaluate(config, folder, task, state)
    print_evaluation(_console(), result)


def _report(options: argparse.Namespace) -> None:
    from experiments.run import RunFolder

    folders = [RunFolder(path) for path in options.runs]
    configs = [each.load_config() for each in folders]
    from experiments.evaluate import load_state, stored_evaluation
    from experiments.report import comparison, write_report
    from experiments.session import make_task
    from experiments.table import print_table

    task = make_task(configs[0])
    state = load_state(configs[0], folders[0], task)
    path = write_report(configs[0], folders[0], task, state, folders[1:])
    results = [result for each in folders if (result := stored_evaluation(each)) is not None]
    names, rows = comparison(folders, configs, results)
    # The page has room for all columns, a terminal for those that are compared.
    shown = [place for place, name in enumerate(names) if name not in ("model", "parameters")]
    console = _console()
    print_table(
        console,
        [names[place] for place in shown],
        [[row[place] for place in shown] for row in rows],
    )
    console.print(f"report: {path}", soft_wrap=True)


def _predict(options: argparse.Namespace) -> None:
    from experiments.run import RunFolder

    folder = RunFolder(options.run)
    folder.load_config()
    from experiments.potentials.stored import load_potential
    from experiments.predict import predict

    potential, params = load_potential(folder, options.seed)
    source = Path(options.file)
    output = options.out or source.with_name(f"{source.stem}_predicted.extxyz")
    predict(
        potential,
        params,
        source,
        output,
        _console(),
        split=options.split,
        overwrite=options.overwrite,
        dtype="float64" if options.float64 else "float32",
    )


def _audit(options: argparse.Namespace) -> None:
    from experiments import audit

    audit.run(options, _console())


def _frames(options: argparse.Namespace) -> None:
    from experiments import frames

    frames.run(options, _console())


def _benchmark(options: argparse.Namespace) -> None:
    import importlib

    from experiments import benchmarks

    folder = Path(benchmarks.__path__[0])
    found = {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}
    if options.name is None:
        for name, path in found.items():
            first, *_ = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()
            print(f"{name:10}  {first}")
        return
    if options.name not in found:
        raise UsageError(
            f"command line: received the benchmark {options.name!r}; allowed: {', '.join(found)}"
        )
    importlib.import_module(f"experiments.benchmarks.{options.name}").main(options.arguments)


def _print_warning(message: Warning | str, *unused: object, **unnamed: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Trains, evaluates and reports on networks made equivariant by averaging.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="train what a configuration file describes, or go on with it",
        description="Trains what a configuration file describes. A run that was stopped, however it "
        "was stopped, goes on where it was; a finished one is left alone.",
        formatter_class=_TrainHelp,
    )
    train.add_argument("config", metavar="CONFIG", help="a YAML file")
    train.add_argument(
        "overrides", metavar="key=value", nargs="*", help="replaces a value, as train.epochs=3"
    )
    train.set_defaults(command=_train)
    evaluate = commands.add_parser(
        "evaluate", help="print the test and equivariance errors of a run"
    )
    evaluate.add_argument("run", metavar="RUN", help="the folder of a run")
    evaluate.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="replaces a value of the model for this evaluation, which is printed and not stored",
    )
    evaluate.set_defaults(command=_evaluate)
    report = commands.add_parser("report", help="write a page with tables and pictures of runs")
    report.add_argument(
        "runs", metavar="RUN", nargs="+", help="folders of runs; the page is put into the first"
    )
    report.set_defaults(command=_report)
    predict = commands.add_parser(
        "predict",
        help="write energies and forces of the molecules of a file",
        description="Writes the energy and forces of every molecule of a file as extended XYZ, in eV "
        "and Angstrom. A frame that cannot be read or predicted costs no other.",
    )
    predict.add_argument("run", metavar="RUN", help="the folder of a run on molecules")
    predict.add_argument("file", metavar="FILE", help="anything that ase reads, or .npz")
    predict.add_argument(
        "--out", metavar="FILE", type=Path, help="by default FILE_predicted.extxyz beside FILE"
    )
    predict.add_argument(
        "--seed",
        type=_seed,
        metavar="SEED",
        help="one of the run, or all for their mean; by default that with the best validation",
    )
    predict.add_argument("--split", metavar="NAME", help=_SPLIT)
    predict.add_argument("--float64", action="store_true", help="in double precision")
    predict.add_argument("--overwrite", action="store_true", help="replace what is there")
    predict.set_defaults(command=_predict)
    audit = commands.add_parser(
        "audit",
        help="measure how far a function or a trained model is from its symmetry",
        description="Measures how far a function of a point cloud, or the model of a run, is from "
        "equivariant, continuous and conservative: on symmetric, degenerate and badly scaled clouds, "
        "or on the run's own test inputs.",
    )
    audit.add_argument(
        "target",
        metavar="TARGET",
        help="package.module:function or file.py:function of a cloud (points, 3), which is run; or "
        "the folder of a run",
    )
    audit.add_argument(
        "--group", choices=("T", "O", "SO", "E", "SE"), help="by default E, or that of the run"
    )
    audit.add_argument(
        "--returns",
        choices=("scalars", "vectors", "points"),
        help="how what the function returns is to move; scalars, which do not, by default",
    )
    audit.add_argument(
        "--average",
        choices=("pca", "robust", "canonical"),
        help="average it over these frames first",
    )
    audit.add_argument("--json", metavar="FILE", type=Path, help="write all that was measured")
    audit.add_argument("--seed", type=int, default=0, help="draws what is random")
    audit.add_argument("--float64", action="store_true", help="in double precision")
    audit.set_defaults(command=_audit)
    frames = commands.add_parser(
        "frames",
        help="draw a molecule with its frames as coordinate systems",
        description="Prints the frames of a molecule, and draws them as a picture and as an "
        "interactive page that opens in a browser without a network.",
    )
    frames.add_argument(
        "molecule",
        metavar="MOLECULE",
        nargs="?",
        default="pyridine",
        help="a name, such as pyridine (the default) or CH4, or a file that ase reads",
    )
    frames.add_argument(
        "--out", metavar="DIR", type=Path, default=Path(), help="a folder, by default this one"
    )
    frames.add_argument(
        "--frame",
        choices=("pca", "robust", "canonical"),
        help="by default pca and robust side by side",
    )
    frames.add_argument("--group", choices=("E", "SE"), default="E", help="by default E")
    frames.add_argument("--split", metavar="NAME", help=_SPLIT)
    frames.set_defaults(command=_frames)
    benchmark = commands.add_parser(
        "benchmark",
        help="run a benchmark, or list them",
        description="Runs a benchmark with options of its own; without a name, lists them.",
    )
    benchmark.add_argument("name", metavar="NAME", nargs="?", help="of the benchmark")
    benchmark.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="its options; see NAME --help"
    )
    benchmark.set_defaults(command=_benchmark)
    return parser


def _seed(text: str) -> int | Literal["all"]:
    try:
        return "all" if text == "all" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"received {text!r}; allowed: a whole number, or all"
        ) from None


class _TrainHelp(argparse.RawDescriptionHelpFormatter):
    """Adds the keys of a configuration, which are only worth collecting when help is asked for."""

    def format_help(self) -> str:
        from experiments.config import CONFIGS
        from experiments.explain import list_keys

        tasks = {task: list(list_keys(config)) for task, config in CONFIGS.items()}
        first, *others = tasks.values()
        shared = [key for key in first if all(key in keys for keys in others)]
        lines = ["keys of every task (and their defaults):", *map(_help_text, shared)]
        for task, keys in tasks.items():
            lines += ["", f"keys of the task {task}:"]
            lines += [_help_text(key) for key in keys if key not in shared]
        return "\n".join([super().format_help(), *lines, ""])


def _help_text(described: tuple[str, str, str]) -> str:
    key, default, meaning = described
    return f"  {key} ({default})\n      {meaning}"
