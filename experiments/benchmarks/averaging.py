"""Time of frame averages, against the backbone.

Run with `python -m experiments benchmark averaging`, on a machine that does nothing else.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.options import positive
from experiments.benchmarks.report import Table, print_tables
from experiments.benchmarks.timing import Call, make_parser, medians, prepare, start
from experiments.tasks.nbody.config import NBodyModelConfig
from experiments.tasks.nbody.model import ACTIONS, Dynamics, Network, trained

Transform = Callable[[Dynamics], Callable[..., Array]]
"""From a network to a model, a function of `(key, position, velocity, charge)`."""

_BODIES = 5
_ELEMENTS = 8
_BACKBONE = "backbone"
_MORE = "backbone, 8 x systems"
_AVERAGE = "average of 8 elements"
_TURNS = "average, one element at a time"
_SAMPLE = "1 sampled element"
_FREE = "average of free motion"

_PUBLISHED = {_MORE: (61.0, 163.0), _AVERAGE: (66.0, 174.0)}
"""Forward and training step, ms, for 100 systems: the PyTorch code of Puny et al. (2022)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    device = start(options.threads)
    console = Console()
    console.print(
        f"{options.systems} systems of {_BODIES} bodies, PointGNN {options.hidden} wide with "
        f"{options.layers} layers, float32, on {device}; medians of {options.repeats}",
        soft_wrap=True,
    )
    times = medians(network_calls(options), options.repeats)
    print_tables(console, *tables(times))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--systems", type=positive, default=100, help="systems in a batch")
    parser.add_argument("--hidden", type=positive, default=64, help="width of the backbone")
    parser.add_argument("--layers", type=positive, default=4, help="layers of the backbone")
    return parser


def network_calls(options: argparse.Namespace) -> dict[tuple[str, str], Call]:
    """The forward pass and the training step of every model.

    Args:
      options: `systems` in a batch, `hidden` and `layers` of the backbone.

    Returns:
      Compiled calls by the name of the model and `"forward"` or `"step"`.
    """
    sizes = {"hidden": options.hidden, "layers": options.layers}
    gnn = Network(NBodyModelConfig(**sizes), rngs=nnx.Rngs(0))
    # One multiplication and addition with one parameter: what is left is the averaging itself.
    free = Network(NBodyModelConfig(backbone="linear"), rngs=nnx.Rngs(0))
    alone, averaged = NBodyModelConfig(), NBodyModelConfig(frame="pca")
    sampled = NBodyModelConfig(frame="pca", training_average="sampled")
    models: dict[str, tuple[Network, Transform, int]] = {
        _BACKBONE: (gnn, lambda network: trained(network, alone), options.systems),
        _MORE: (gnn, lambda network: trained(network, alone), options.systems * _ELEMENTS),
        _AVERAGE: (gnn, lambda network: trained(network, averaged), options.systems),
        _TURNS: (gnn, _in_turns, options.systems),
        _SAMPLE: (gnn, lambda network: trained(network, sampled), options.systems),
        _FREE: (free, lambda network: trained(network, averaged), options.systems),
    }
    calls = {}
    for name, (network, transform, systems) in models.items():
        forward, step, params = _functions(network, transform)
        batch = _batch(systems)
        state = _optimizer.init(params)
        calls[name, "forward"], _ = prepare(forward, params, batch)
        calls[name, "step"], _ = prepare(step, params, state, batch)
    return calls


_optimizer = optax.adamw(1e-3)


def _in_turns(network: Dynamics) -> Callable[..., Array]:
    averaged = sf.frame_average(network, sf.pca_frame, batch_size=1, **ACTIONS)
    return lambda key, *args: averaged(*args)


def _functions(
    network: Network, transform: Transform
) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    graph, state = nnx.split(network)

    def forward(params: Any, batch: dict[str, Array]) -> Float[Array, "systems bodies 3"]:
        model = transform(nnx.merge(graph, nnx.State(params)))
        inputs = batch["position"], batch["velocity"], batch["charge"]
        return jax.vmap(model)(batch["key"], *inputs)

    def loss(params: Any, batch: dict[str, Array]) -> Float[Array, ""]:
        return jnp.mean(jnp.abs(forward(params, batch) - batch["target"]))

    def step(params: Any, moments: Any, batch: dict[str, Array]) -> tuple[Array, Any, Any]:
        value, gradient = jax.value_and_grad(loss)(params, batch)
        # Optax raises its decay rates to a whole number, which strict rules forbid.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = _optimizer.update(gradient, moments, params)
        return value, optax.apply_updates(params, updates), moments

    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), nnx.to_pure_dict(state))
    return forward, step, params


def _batch(systems: int) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    shape = (systems, _BODIES, 3)
    batch = {
        name: jnp.asarray(generator.normal(size=shape), jnp.float32)
        for name in ("position", "velocity", "target")
    }
    batch["charge"] = jnp.asarray(generator.choice([-1.0, 1.0], shape[:2]), jnp.float32)
    batch["key"] = jax.random.split(jax.random.key(0), systems)
    return batch


def tables(times: Mapping[tuple[str, str], float]) -> list[Table]:
    """The times, in milliseconds, and their ratios."""
    return [
        Table(["", "forward", "training step"], _time_rows(times)),
        Table(["ratio", "forward", "training step"], _ratio_rows(times)),
    ]


def _time_rows(times: Mapping[tuple[str, str], float]) -> list[list[str]]:
    names = dict.fromkeys(name for name, _ in times)
    rows = [
        [name, *(f"{times[name, kind]:.2f} ms" for kind in ("forward", "step"))] for name in names
    ]
    for name, published in _PUBLISHED.items():
        rows.append([f"{name}, published *", *(f"{time:.0f} ms" for time in published)])
    return rows


def _ratio_rows(times: Mapping[tuple[str, str], float]) -> list[list[str]]:
    def row(name: str, top: str, bottom: str, factor: int = 1) -> list[str]:
        ratios = (times[top, kind] / (factor * times[bottom, kind]) for kind in ("forward", "step"))
        return [name, *(f"{ratio:.3f}" for ratio in ratios)]

    top, bottom = _PUBLISHED[_AVERAGE], _PUBLISHED[_MORE]
    published = (f"{ours / theirs:.2f}" for ours, theirs in zip(top, bottom, strict=True))
    return [
        row("average / 8 backbones", _AVERAGE, _BACKBONE, _ELEMENTS),
        row("average, one element at a time / 8 backbones", _TURNS, _BACKBONE, _ELEMENTS),
        row("average / backbone, 8 x systems", _AVERAGE, _MORE),
        ["average / backbone, 8 x systems, published *", *published],
        row("sampled element / backbone", _SAMPLE, _BACKBONE),
        row("frame, pull, push and sum / average", _FREE, _AVERAGE),
        ["* published implementation (measured on another machine, 1 thread, 100 systems)", "", ""],
    ]
