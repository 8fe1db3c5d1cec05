"""The command `evaluate`: prints the test and equivariance errors of a run."""

import argparse

from experiments.commands.command import Command, make_console, use_cache_of
from experiments.errors import ExperimentError, UsageError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="replaces a value of the model for this evaluation, which is printed and not stored",
    )


def _run(options: argparse.Namespace) -> None:
    from experiments.runs.folder import RunFolder

    folder = RunFolder(options.run)
    for assignment in options.overrides:
        # Other data could put training examples into the test set.
        if not assignment.startswith(("model.", "mesh.")):
            raise UsageError(
                "command line: an override of an evaluation must be a key of the section model, such "
                f"as model.hidden=64, or of mesh, got {assignment!r}"
            )
    config = folder.load_config(options.overrides)
    use_cache_of(config, options)
    from experiments.data.summary import summary_of
    from experiments.results.evaluate import evaluate, measure, print_evaluation
    from experiments.runs.restore import load_state
    from experiments.tasks.registry import make_task
    from experiments.training.mesh import make_mesh

    # One that does not fit is refused before data are read or made, which can take minutes.
    make_mesh(config.mesh)
    task = make_task(config)
    if config.data.path is not None:
        folder.check_data(summary_of(task.splits))
    try:
        state = load_state(config, folder, task, task.facts())
    except ExperimentError as error:
        if not options.overrides:
            raise
        # The first line says what is different; what follows is of damaged checkpoints.
        reason = str(error).splitlines()[0]
        raise UsageError(
            "command line: overrides must leave the parameters as they are, such as another average; "
            f"the weights in {folder.path} do not fit {' '.join(options.overrides)} ({reason})"
        ) from None
    if options.overrides:
        # What is stored belongs to the configuration that is stored.
        result = measure(config, task, state)
    else:
        result = evaluate(config, folder, task, state)
    print_evaluation(make_console(), result)


COMMAND = Command(
    "evaluate", "print the test and equivariance errors of a run", _add_arguments, _run
)
