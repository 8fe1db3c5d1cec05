"""The layer-wise averaged network of the n-body task, and what is timed of it and of its peers."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from experiments.benchmarks.timing import Call, prepare
from experiments.tasks.nbody.config import NBodyModelConfig
from experiments.tasks.nbody.model import Network

BODIES = 5
PARTS = 5
"""Parts of a batch that the gradient is accumulated over."""
STEPS = 10
"""Steps in one dispatch of the training loop."""


class Model(NamedTuple):
    """A network for charged bodies.

    Attributes:
      predict: from its parameters, the positions, the velocities and the charges of all systems to
        the positions after the time step.
      params: its parameters.
    """

    predict: Callable[..., Float[Array, "systems bodies 3"]]
    params: Any


def layerwise_model() -> Model:
    """The network at the size of Puny et al.: 4 layers of 60 features."""
    network = Network(NBodyModelConfig(backbone="layerwise_gnn", hidden=60), rngs=nnx.Rngs(0))
    graph, state = nnx.split(network)

    def predict(params: Any, *inputs: Array) -> Float[Array, "systems bodies 3"]:
        return jax.vmap(nnx.merge(graph, nnx.State(params)))(*inputs)

    return Model(predict, nnx.to_pure_dict(state))


def training_calls(
    model: Model, systems: int = 100, steps: int = STEPS, *, brief: bool = False
) -> dict[str, Call]:
    """The forward pass and the training step of a network.

    Args:
      model: the network.
      systems: systems of five bodies in a batch, a multiple of `PARTS`.
      steps: steps in one dispatch.
      brief: whether the first two calls are all.

    Returns:
      `forward`; `step`, a step in a dispatch of its own; and `steps`, a dispatch of `steps` steps,
      as training runs them: what it takes is to be divided by their number. `steps in parts` is the
      same with gradients that are accumulated over parts of the batch.
    """
    params = model.params
    optimizer = optax.adam(1e-3)
    generator = np.random.default_rng(0)
    shape = (systems, BODIES, 3)
    draw = generator.normal(size=(3, *shape)).astype(np.float32)
    charge = generator.choice([-1.0, 1.0], shape[:2]).astype(np.float32)
    inputs, target = tuple(map(jnp.asarray, (draw[0], draw[1], charge))), jnp.asarray(draw[2])

    def forward(params: Any, inputs: tuple) -> Float[Array, "systems bodies 3"]:
        return model.predict(params, *inputs)

    def loss(params: Any, inputs: tuple, target: Array) -> Float[Array, ""]:
        return jnp.mean((forward(params, inputs) - target) ** 2)

    whole_gradient = jax.grad(loss)

    def in_parts(params: Any, inputs: tuple, target: Array) -> Any:
        """The gradient, accumulated over parts of the batch, as `train.gradient_parts` has it."""
        parts = jax.tree.map(
            lambda leaf: leaf.reshape(PARTS, -1, *leaf.shape[1:]), (inputs, target)
        )

        def add(total: Any, part: tuple) -> tuple[Any, None]:
            gradient = whole_gradient(params, *part)
            return jax.tree.map(lambda one, other: one + other / PARTS, total, gradient), None

        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)[0]

    def step(
        params: Any, moments: Any, inputs: tuple, target: Array, gradient_of: Any = whole_gradient
    ) -> tuple[Any, Any]:
        gradient = gradient_of(params, inputs, target)
        # Optax raises its decay rates to a whole number, which strict rules forbid.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments

    def dispatch(
        params: Any, moments: Any, inputs: tuple, target: Array, gradient_of: Any = whole_gradient
    ) -> tuple[Any, Any]:
        def body(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            return step(*carry, inputs, target, gradient_of), None

        return jax.lax.scan(body, (params, moments), None, length=steps)[0]

    moments = optimizer.init(params)
    whole = params, moments, inputs, target
    calls = {
        "forward": prepare(forward, params, inputs)[0],
        "step": prepare(step, *whole)[0],
    }
    if not brief:
        calls["steps"] = prepare(dispatch, *whole)[0]
        calls["steps in parts"] = prepare(partial(dispatch, gradient_of=in_parts), *whole)[0]
    return calls
