"""The optimiser and the moving average of the weights."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from experiments.config import TrainConfig


def learning_rate_schedule(config: TrainConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up to `config.learning_rate`, then a cosine that ends at zero."""
    return optax.warmup_cosine_decay_schedule(
        # The first step already moves: a warm-up from zero would waste it.
        init_value=config.learning_rate / (config.warmup_steps + 1),
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=num_steps,
    )


def make_optimizer(config: TrainConfig, num_steps: int) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm."""
    adamw = optax.adamw(learning_rate_schedule(config, num_steps), weight_decay=config.weight_decay)
    if config.clip_norm is None:
        return adamw
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)


def update_average(
    average: PyTree[Array], params: PyTree[Array], step: Int[Array, ""], decay: float
) -> PyTree[Array]:
    """The exponential moving average of the weights after `step` + 1 steps.

    The average starts at the initial weights. Its decay is `min(decay, (1 + step) / (10 + step))`,
    so that it forgets them early.
    """
    warm: Float[Array, ""] = jnp.minimum(decay, (1 + step) / (10 + step))
    # The decay may be wider than the weights, which strict promotion forbids; they stay as they
    # are.
    with jax.numpy_dtype_promotion("standard"):
        moved = optax.incremental_update(params, average, 1 - warm)
    return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, average)
