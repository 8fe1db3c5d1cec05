"""Time of frame averages, against the backbone.

Run with `python -m experiments benchmark averaging`, on a machine that does nothing else.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.averaged_backbones import BACKBONES, Backbone
from experiments.benchmarks.options import positive
from experiments.benchmarks.report import Table, print_caption, print_tables
from experiments.benchmarks.timing import Call, make_parser, medians, prepare, start

Transform = Callable[..., Callable[..., Array]]
"""From a network and the actions of motions on it to a model, a function of a key and the inputs."""

_ELEMENTS = 8
_BACKBONE = "backbone"
_MORE = "backbone, 8 x systems"
_AVERAGE = "average of 8 elements"
_TURNS = "average, one element at a time"
_SAMPLE = "1 sampled element"
_FREE = "average of a single product"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    device = start(options.threads)
    console = Console()
    print_caption(console, f"{describe(options)} On {device}; medians of {options.repeats}.")
    for name in options.backbones:
        backbone = BACKBONES[name](options.hidden, options.layers)
        times = medians(network_calls(backbone, options.systems), options.repeats)
        console.print()
        print_tables(console, *tables(backbone, times))


def describe(options: argparse.Namespace) -> str:
    """What is timed, in words."""
    return (
        f"{options.systems} systems, networks {options.hidden} wide with {options.layers} layers, "
        "float32."
    )


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--backbones",
        nargs="+",
        choices=list(BACKBONES),
        default=list(BACKBONES),
        help="the networks",
    )
    parser.add_argument("--systems", type=positive, default=100, help="systems in a batch")
    parser.add_argument("--hidden", type=positive, default=64, help="width of the backbone")
    parser.add_argument("--layers", type=positive, default=4, help="layers of the backbone")
    return parser


def network_calls(
    backbone: Backbone, systems: int, *, brief: bool = False
) -> dict[tuple[str, str], Call]:
    """The forward pass and the training step of every model.

    Args:
      backbone: the network that is averaged.
      systems: examples in a batch.
      brief: whether the average of all elements at once is the only one.

    Returns:
      Compiled calls by the name of the model and `"forward"` or `"step"`.
    """
    models: dict[str, tuple[nnx.Module, Transform, int]] = {
        _BACKBONE: (backbone.network, _alone, systems),
        _MORE: (backbone.network, _alone, systems * _ELEMENTS),
        _AVERAGE: (backbone.network, _averaged, systems),
    }
    if not brief:
        models[_TURNS] = backbone.network, partial(_averaged, batch_size=1), systems
        models[_SAMPLE] = backbone.network, _sampled, systems
    if backbone.trivial is not None and not brief:
        models[_FREE] = backbone.trivial, _averaged, systems
    calls = {}
    for name, (network, transform, count) in models.items():
        forward, step, params = _functions(backbone, network, transform)
        batch = _batch(backbone, forward, params, count)
        state = _optimizer.init(params)
        calls[name, "forward"], _ = prepare(forward, params, batch)
        calls[name, "step"], _ = prepare(step, params, state, batch)
    return calls


_optimizer = optax.adamw(1e-3)


def _alone(network: Callable[..., Array], **actions: Any) -> Callable[..., Array]:
    del actions
    return lambda key, *inputs: network(*inputs)


def _averaged(network: Callable[..., Array], **options: Any) -> Callable[..., Array]:
    average = sf.frame_average(network, sf.pca_frame, **options)
    return lambda key, *inputs: average(*inputs)


def _sampled(network: Callable[..., Array], **actions: Any) -> Callable[..., Array]:
    return sf.sampled_average(network, sf.pca_frame, **actions)


def _functions(
    backbone: Backbone, network: nnx.Module, transform: Transform
) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    graph, state = nnx.split(network)

    def forward(params: Any, batch: dict[str, Any]) -> Float[Array, "systems *output"]:
        merged = partial(backbone.call, nnx.merge(graph, nnx.State(params)))
        return jax.vmap(transform(merged, **backbone.actions))(batch["key"], *batch["inputs"])

    def loss(params: Any, batch: dict[str, Any]) -> Float[Array, ""]:
        return jnp.mean(jnp.abs(forward(params, batch) - batch["target"]))

    def step(params: Any, moments: Any, batch: dict[str, Any]) -> tuple[Array, Any, Any]:
        value, gradient = jax.value_and_grad(loss)(params, batch)
        # Optax raises its decay rates to a whole number, which strict rules forbid.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = _optimizer.update(gradient, moments, params)
        return value, optax.apply_updates(params, updates), moments

    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), nnx.to_pure_dict(state))
    return forward, step, params


def _batch(
    backbone: Backbone, forward: Callable[..., Any], params: Any, systems: int
) -> dict[str, Any]:
    batch = {
        "inputs": backbone.inputs(systems),
        "key": jax.random.split(jax.random.key(0), systems),
    }
    output = jax.eval_shape(forward, params, batch)
    draw = np.random.default_rng(1).normal(size=output.shape)
    return batch | {"target": jnp.asarray(draw, output.dtype)}


def tables(backbone: Backbone, times: Mapping[tuple[str, str], float]) -> list[Table]:
    """The times, in milliseconds, and their ratios."""
    names = "forward", "training step"
    return [
        Table([backbone.title, *names], _time_rows(backbone, times)),
        Table([f"{backbone.title}: ratio", *names], _ratio_rows(backbone, times)),
    ]


def _time_rows(backbone: Backbone, times: Mapping[tuple[str, str], float]) -> list[list[str]]:
    names = dict.fromkeys(name for name, _ in times)
    rows = [
        [name, *(f"{times[name, kind]:.2f} ms" for kind in ("forward", "step"))] for name in names
    ]
    if backbone.published is not None:
        for name, published in zip((_AVERAGE, _MORE), backbone.published, strict=True):
            rows.append([f"{name}, published *", *(f"{time:.0f} ms" for time in published)])
    return rows


def _ratio_rows(backbone: Backbone, times: Mapping[tuple[str, str], float]) -> list[list[str]]:
    def row(name: str, top: str, bottom: str, factor: int = 1) -> list[str]:
        ratios = (times[top, kind] / (factor * times[bottom, kind]) for kind in ("forward", "step"))
        return [name, *(f"{ratio:.3f}" for ratio in ratios)]

    compared: list[tuple] = [
        ("average / 8 backbones", _AVERAGE, _BACKBONE, _ELEMENTS),
        ("average, one element at a time / 8 backbones", _TURNS, _BACKBONE, _ELEMENTS),
        ("average / backbone, 8 x systems", _AVERAGE, _MORE),
        ("sampled element / backbone", _SAMPLE, _BACKBONE),
        ("frame, pull, push and sum / average", _FREE, _AVERAGE),
    ]
    timed = {name for name, _ in times}
    rows = [row(name, top, *rest) for name, top, *rest in compared if top in timed]
    if backbone.published is not None:
        ratios = (ours / theirs for ours, theirs in zip(*backbone.published, strict=True))
        rows += [
            ["average / backbone, 8 x systems, published *", *(f"{ratio:.2f}" for ratio in ratios)],
            [
                "* published implementation (measured on another machine, 1 thread, 100 systems)",
                "",
                "",
            ],
        ]
    return rows
