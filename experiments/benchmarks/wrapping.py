"""Accuracy and invariance of a network that may not be changed, before and after wrapping.

Run with `python -m experiments benchmark wrapping RUN [RUN_CANONICAL]`: the folder of a run such as
`configs/digits_upright.yaml`, and that of one such as `configs/digits_pretrained.yaml`.

How to read the table. Averaging over a group makes the network exactly invariant, but not accurate:
it evaluates a digit in all poses, and the network was trained on one of them alone. So upright
digits get worse, and turned digits are recognized as rarely as those. A canonicalization (a learned
pose, or the centre of mass) is as invariant, and shows the network a pose that it knows, if the
pose is right. Upright digits stay nearly as good as they were, and moved ones become as good. A
wrapper changes nothing for other moves: angles between the quarter turns, or mirror images behind
rotations. A margin alone changes much, since the network's norms are taken over the whole image:
after centring, the margin can be cut off.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.runs.folder import RunFolder
from experiments.table import number
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.digits.data import load_digits
from experiments.tasks.digits.model import ACTIONS, Image, Logits, group_named
from experiments.tasks.digits.pretrained import best_weights

_SHIFT = 6
_CHUNK = 100
_COLUMNS = ("upright", "turned", "mirrored", "any angle", "framed", "shifted")
_LAWS = {
    "C4": ("upright", ("turned",)),
    "D4": ("upright", ("turned", "mirrored")),
    "shifts": ("framed", ("shifted",)),
}
"""The digits as they are, and moved by each kind of element."""


class Wrapped(NamedTuple):
    """A network with something around it.

    Attributes:
      name: in words.
      model: the whole function of one image.
      law: the elements that must not change its logits, a key of `_LAWS`; `None` for the network
        alone.
    """

    name: str
    model: Callable[[Image], Logits]
    law: str | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it as Markdown if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: a run is not as it must be.
    """
    options = _parser().parse_args(arguments)
    model, weights = best_weights(options.run, "none")
    network, scores, group = model.network(weights), None, "C1"
    if options.canonical is not None:
        posing, weights = best_weights(options.canonical, "canonical")
        scores, group = posing.network(weights).scores, posing.config.symmetrization_group
    digits, labels = _digits(options.run, options.digits)
    table = measure(wrapped(network, scores, group), digits, labels)
    caption = (
        f"Accuracy in percent on {len(digits)} test digits, {model.config.description}, weights "
        "unchanged. turned: by 90, 180 and 270 degrees; mirrored: and turned by multiples of 90 "
        "degrees; any angle: each by its own; framed: in the middle of 40 x 40 pixels; shifted: "
        f"within the frame, by up to {_SHIFT} pixels each way. change of logits: under the moves "
        "named, relative to the largest logit, for the worst digit, before and after wrapping."
    )
    if scores is not None:
        rate = 100 * float(sf.frames.identity_rate(jax.jit(jax.vmap(scores))(digits)))
        caption += f" The learned pose of {number(rate)} % of the upright digits is upright."
    console = Console()
    print_caption(console, caption)
    print_tables(console, table)
    if options.out is not None:
        print_paths(console, write_report(options.out, "wrapping", caption, [table]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run on digits without symmetrization")
    parser.add_argument(
        "canonical", metavar="RUN_CANONICAL", nargs="?", help="a run whose network scores poses"
    )
    parser.add_argument("--digits", type=positive, default=1000, help="test digits")
    add_out(parser, "the table")
    return parser


def _digits(run: str, count: int) -> tuple[Float[Array, "digits 28 28 1"], Int[Array, " digits"]]:
    """The first test digits of a run, upright, and their classes."""
    config = RunFolder(run).load_config()
    assert isinstance(config, DigitsConfig)
    test = load_digits(**config.data.model_dump() | {"rotation": "none"})["test"]
    return jnp.asarray(test["image"][:count]), jnp.asarray(test["label"][:count])


def wrapped(
    network: Callable[[Image], Logits],
    scores: Callable[[Image], Float[Array, " order"]] | None,
    group: str,
) -> list[Wrapped]:
    """The network as it is, and with everything that can be put around it.

    Args:
      network: the network that stays as it is.
      scores: scores the poses of an image, or `None`.
      group: the name of the group of the poses.
    """
    models = [Wrapped("as it is", network, None)]
    for name in ("C4", "D4"):
        average = sf.group_average(network, group_named(name), **ACTIONS)
        models.append(Wrapped(f"averaged over {name}", average, name))
    if scores is not None:

        def pose(image: Image) -> sf.Frame:
            return sf.scored_frame(scores(image), group_named(group))

        posed = sf.frame_average(network, pose, **ACTIONS)
        models.append(
            Wrapped(f"in a learned pose of {group}", posed, group if group in _LAWS else None)
        )
    centred = sf.frame_average(lambda image: network(_middle(image)), sf.landmark_frame, **ACTIONS)
    return [*models, Wrapped("centred at the centre of mass", centred, "shifts")]


def measure(
    models: Sequence[Wrapped],
    digits: Float[Array, "digits 28 28 1"],
    labels: Int[Array, " digits"],
) -> Table:
    """Evaluates every model on every kind of moved digits.

    Args:
      models: the network as it is, then wrapped.
      digits: upright digits.
      labels: their classes.

    Returns:
      The table.
    """
    moves = moved(digits)
    rows, before = [], None
    for name, model, law in models:
        run = _compiled(model)
        logits = {
            column: np.stack([np.asarray(run(images)) for images in moves[column]])
            for column in _COLUMNS
        }
        before = logits if before is None else before
        rights = [
            100 * np.mean(np.argmax(values, axis=-1) == np.asarray(labels)[None])
            for values in logits.values()
        ]
        change = "-"
        if law is not None:
            change = f"{law}: {_change(before, law):.1e} → {_change(logits, law):.1e}"
        rows.append([name, *(number(float(right)) for right in rights), change])
    return Table(["network", *_COLUMNS, "change of logits"], rows)


@jax.jit
def moved(
    digits: Float[Array, "digits 28 28 1"],
) -> dict[str, Float[Array, "moves digits height width 1"]]:
    """The digits as they are, and moved in every way, by the name of the column."""
    push = jax.vmap(sf.images.push, in_axes=(0, None))
    symmetries = push(sf.dihedral(4).cast(digits.dtype), digits)
    turns, shifts = jax.random.split(jax.random.key(0))

    def turn(key: Array, image: Image) -> Image:
        element = sf.special_orthogonal(2).draw(key, image.dtype)
        return sf.fields(order=3).push(element, image)

    def shift(key: Array, image: Image) -> Image:
        steps = jax.random.randint(key, (2,), -_SHIFT, _SHIFT + 1).astype(image.dtype)
        return sf.images.push(sf.Isometry(jnp.eye(2, dtype=image.dtype), steps), image)

    # With the margin no shift takes ink out of the image.
    framed = jnp.pad(digits, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)))
    return {
        "upright": symmetries[:1],
        "turned": symmetries[1:4],
        "mirrored": symmetries[4:],
        "any angle": jax.vmap(turn)(jax.random.split(turns, len(digits)), digits)[None],
        "framed": framed[None],
        "shifted": jax.vmap(shift)(jax.random.split(shifts, len(digits)), framed)[None],
    }


def _middle(image: Float[Array, "height width 1"]) -> Float[Array, "28 28 1"]:
    """The pixels that the network was trained on: its norms see how much of an image is empty."""
    margin = (image.shape[0] - 28) // 2
    return image[margin : margin + 28, margin : margin + 28]


def _compiled(model: Callable[[Image], Logits]) -> Callable[[Array], Array]:
    return jax.jit(lambda images: jax.lax.map(model, images, batch_size=min(_CHUNK, len(images))))


def _change(logits: dict[str, np.ndarray], law: str) -> float:
    still, moves = _LAWS[law]
    reference = logits[still]
    size = np.max(np.abs(reference), axis=-1)
    changes = [np.max(np.abs(logits[move] - reference), axis=-1) / size for move in moves]
    return max(float(np.max(change)) for change in changes)
