"""The training loop: what happens between two dispatches to the device."""

import time
from contextlib import closing
from typing import Any

import jax
import numpy as np
from rich.console import Console
from tensorboardX import SummaryWriter

from experiments.config import Config
from experiments.errors import InterruptedRunError
from experiments.runs.checkpoint import Checkpoints
from experiments.runs.folder import RunFolder
from experiments.runs.restore import begin
from experiments.training.feed import feed, is_read_meanwhile
from experiments.training.guard import check_state, check_steps, check_validation
from experiments.training.hosts import any_process, check_same, is_first
from experiments.training.interrupt import Interrupt
from experiments.training.mesh import make_mesh
from experiments.training.metrics import cut
from experiments.training.programs import make_programs, packed_state
from experiments.training.progress import TrainingProgress
from experiments.training.state import State
from experiments.training.task import Task


def dispatch_lengths(steps: int, most: int) -> list[int]:
    """Splits the steps between two validations into dispatches of at most `most` steps.

    Equal ones where a divisor of `steps` is at hand, because each length compiles a program of its
    own; otherwise of two lengths that differ by one.
    """
    for length in range(min(most, steps), most // 2, -1):
        if steps % length == 0:
            return [length] * (steps // length)
    count = -(-steps // most)
    return [steps // count + (index < steps % count) for index in range(count)]


def dispatches(config: Config, step: int) -> list[tuple[int, int]]:
    """The first step, and the number of steps, of each dispatch after `step` steps."""
    settings = config.train
    between = settings.evaluate_every * config.steps_per_epoch
    lengths = dispatch_lengths(between, settings.steps_per_dispatch)
    ends = np.cumsum(lengths * (config.num_steps // between)).tolist()
    ends = [end for end in ends if end > step]
    return [(start, end - start) for start, end in zip([step, *ends], ends, strict=False)]


def train(config: Config, folder: RunFolder, task: Task, console: Console) -> State:
    """Trains all seeds of a run to the end, from its newest checkpoint if it has one.

    What is computed depends on the configuration alone, not on how often the run was stopped. Of
    several processes all compute, and the first one writes.

    Args:
      config: the configuration.
      folder: the folder of the run, claimed with `RunFolder.training`.
      task: what is learnt.
      console: where progress is shown.

    Returns:
      The state after the last step, with a leading axis of seeds.

    Raises:
      UsageError: if the frame of an example has no room, by `Task.check_room`.
      DivergedError: if a loss, a gradient, a metric or a weight is not finite.
      InterruptedRunError: if SIGINT or SIGTERM came; the state is saved.
    """
    settings = config.train
    between = settings.evaluate_every * config.steps_per_epoch
    mesh = make_mesh(config.mesh)
    chunks = cut(task.splits["valid"], settings.evaluation_batch_size, mesh)

    for split in task.splits:
        task.check_room(split)
    checkpoints = Checkpoints(folder.checkpoints, settings.keep)
    state, step = begin(config, task, checkpoints)
    check_same("the newest checkpoint in the run folder, which they share,", lambda: step)
    first = is_first()
    seconds = 0.0
    if first:
        checkpoints.discard_after(step)
        seconds = folder.truncate_metrics(step)
    if step == config.num_steps:
        return state
    started, waited = time.monotonic(), 0.0
    state, packed = packed_state(state, mesh)
    unpack = packed.unpack
    plan = dispatches(config, step)
    dispatch, validation = make_programs(config, task, packed, mesh)
    console.print(
        f"{config.model.description}: {state.parameters:,} parameters, {len(settings.seeds)} seeds, "
        f"{config.num_steps} steps, {'continuing at step ' + str(step) if step else 'from scratch'}",
        soft_wrap=True,
        highlight=False,
    )
    with (
        Interrupt() as interrupt,
        SummaryWriter(str(folder.tensorboard), purge_step=step + 1, write_to_disk=first) as board,
        TrainingProgress(console, task.metric, step, config.num_steps) as progress,
        closing(feed(config, task.splits["train"], mesh, plan)) as examples,
    ):
        for start, length in plan:
            asked = time.monotonic()
            batches = next(examples)
            waited += time.monotonic() - asked
            state, trace = dispatch(state, batches, length)
            check_steps(trace, start, config, checkpoints)
            step = start + length
            progress.dispatched(step, float(np.mean(trace.loss)))
            stopping = any_process(interrupt.received)
            saving = stopping
            if step % between == 0:
                state, loss, metrics = validation(state, chunks)
                epoch = step // config.steps_per_epoch
                record: dict[str, Any] = {
                    "step": step,
                    "epoch": epoch,
                    "loss": loss.tolist(),
                    "valid": {name: values.tolist() for name, values in metrics.items()},
                    "best": state.best_metric.tolist(),
                    "seconds": seconds + time.monotonic() - started,
                }
                if is_read_meanwhile(task.splits["train"]):
                    record["waited"] = waited
                check_validation(record["valid"], step, config, checkpoints)
                if first:
                    folder.append_metrics(record)
                _draw(board, record, settings.seeds)
                progress.validated(record)
                saving |= epoch % settings.checkpoint_every == 0 or epoch == settings.epochs
            if saving:
                saved = unpack(jax.device_get(state))
                check_state(saved, step, config, checkpoints)
                if first:
                    checkpoints.save(step, saved)
            if stopping:
                others = ", in all processes as before" if jax.process_count() > 1 else ""
                raise InterruptedRunError(
                    f"stopped at step {step} of {config.num_steps}, which is saved; to continue"
                    f"{others}: python -m experiments train {folder.config}"
                )
    return jax.device_put(unpack(jax.device_get(state)))


def _draw(board: SummaryWriter, record: dict[str, Any], seeds: tuple[int, ...]) -> None:
    curves = {"loss": record["loss"]}
    curves |= {f"valid_{name}": values for name, values in record["valid"].items()}
    for name, values in curves.items():
        for seed, value in zip(seeds, values, strict=True):
            board.add_scalar(f"{name}/seed_{seed}", value, record["step"])
    board.flush()
