"""The command `report`: writes a page with tables and pictures of runs."""

import argparse

from experiments.commands.command import Command, make_console


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="folders of runs; the page is put into the first"
    )


def _run(options: argparse.Namespace) -> None:
    from experiments.runs.folder import RunFolder

    folders = [RunFolder(path) for path in options.runs]
    configs = [folder.load_config() for folder in folders]
    from experiments.results.evaluate import stored_evaluation
    from experiments.results.report import comparison, write_report
    from experiments.runs.restore import load_state
    from experiments.table import print_table
    from experiments.tasks.registry import make_task

    task = make_task(configs[0])
    state = load_state(configs[0], folders[0], task, task.facts())
    path = write_report(configs[0], folders[0], task, state, folders[1:])
    stored = [stored_evaluation(folder) for folder in folders]
    names, rows = comparison(folders, configs, [result for result in stored if result is not None])
    # The page has room for all columns, a terminal for those that are compared.
    shown = [index for index, name in enumerate(names) if name not in ("model", "parameters")]
    console = make_console()
    print_table(
        console,
        [names[index] for index in shown],
        [[row[index] for index in shown] for row in rows],
    )
    console.print(f"report: {path}", soft_wrap=True)


COMMAND = Command("report", "write a page with tables and pictures of runs", _add_arguments, _run)
