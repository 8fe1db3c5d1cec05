"""The command `train`: trains what a configuration file describes, or goes on with it."""

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING

from experiments.commands.command import Command, make_console, use_cache_of

if TYPE_CHECKING:
    from experiments.config import Config
    from experiments.runs.folder import RunFolder


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = _TrainHelp
    parser.add_argument("config", metavar="CONFIG", help="a YAML file")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", help="replaces a value, as train.epochs=3"
    )
    several = parser.add_argument_group(
        "several processes",
        "one on each host; srun and Open MPI say by themselves what is asked for here",
    )
    several.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="where the first process listens; auto on a TPU pod",
    )
    several.add_argument("--processes", metavar="N", type=int, help="how many there are")
    several.add_argument("--process", metavar="I", type=int, help="which one this is, from 0")


def _run(options: argparse.Namespace) -> None:
    from experiments.config.load import dump_config, load_config
    from experiments.runs.folder import RunFolder
    from experiments.training.hosts import check_same, find_launch, joined

    config = load_config(options.config, options.overrides)
    use_cache_of(config, options)
    folder = RunFolder(config.run)
    launch = find_launch(options.coordinator, options.processes, options.process)
    with joined(launch) as first:
        if launch is not None:
            check_same("the configuration", lambda: dump_config(config))
        with folder.training(config) if first else nullcontext():
            _train(config, folder, first)


def _train(config: "Config", folder: "RunFolder", first: bool) -> None:
    """Trains, evaluates and reports, in every process; only the first one writes and speaks."""
    from experiments.data.summary import summary_of
    from experiments.files import digest_arrays
    from experiments.results.evaluate import evaluate, print_evaluation, stored_evaluation
    from experiments.tasks.registry import make_task
    from experiments.training.hosts import (
        any_process,
        check_same,
        first_then_others,
        leave_others,
    )
    from experiments.training.mesh import make_mesh
    from experiments.training.train import train

    # One that does not fit is refused before data are made, which can take minutes.
    make_mesh(config.mesh)
    console = make_console(quiet=not first)
    result = stored_evaluation(folder) if first else None
    finished = result is not None and result["step"] == config.num_steps
    if any_process(finished and folder.report.is_file()):
        console.print(f"{folder.path} is finished; nothing to do", soft_wrap=True)
        if result is not None:
            print_evaluation(console, result)
        return
    task = first_then_others(first, lambda: make_task(config))
    check_same("the data", lambda: {name: digest_arrays(task.splits[name]) for name in task.splits})
    facts = task.facts()
    if facts is not None and first:
        folder.keep_facts(facts)
    if config.data.path is not None and first:
        # Of the file of a user, which may be another one the next time.
        folder.keep_data(summary_of(task.splits))
    state = train(config, folder, task, console)
    print_evaluation(console, evaluate(config, folder, task, state))
    leave_others()
    if first:
        from experiments.results.report import write_report

        console.print(f"report: {write_report(config, folder, task, state)}", soft_wrap=True)


class _TrainHelp(argparse.RawDescriptionHelpFormatter):
    """Adds the keys of a configuration, which are only worth collecting when help is asked for."""

    def format_help(self) -> str:
        from experiments.config.explain import list_keys
        from experiments.tasks.registry import TASKS, task_entry

        tasks = {task: list(list_keys(task_entry(task).config)) for task in TASKS}
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


COMMAND = Command(
    "train",
    "train what a configuration file describes, or go on with it",
    _add_arguments,
    _run,
    "Trains what a configuration file describes. A run that was stopped, however it was stopped, "
    "goes on where it was; a finished one is left alone.",
)
