"""The optimizer and the moving average of the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree
from optax.contrib import MuonDimensionNumbers, muon

from experiments.config import TrainConfig
from experiments.training.packing import Packing


def learning_rate_schedule(config: TrainConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up to `config.learning_rate`, then a cosine that ends at zero."""
    return optax.warmup_cosine_decay_schedule(
        # The first step already moves: a warm-up from zero would waste it.
        init_value=config.learning_rate / (config.warmup_steps + 1),
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=num_steps,
    )


def make_optimizer(config: TrainConfig, num_steps: int) -> optax.GradientTransformationExtraArgs:
    """AdamW or Muon after clipping by the global norm.

    Its `update` takes the `Packing` of the gradient and the parameters as `packed`.
    """
    rate = learning_rate_schedule(config, num_steps)
    optimizer: Any
    if config.optimizer == "muon":
        optimizer = _muon(rate, config.weight_decay)
    else:
        optimizer = optax.adamw(rate, weight_decay=config.weight_decay)
    if config.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optax.with_extra_args_support(optimizer)


_RMS = 0.2
"""Of the numbers of an update of Muon over the learning rate: about what it is with AdamW."""


def _muon(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformationExtraArgs:
    r"""Muon for matrices; for embeddings, and for all that is no matrix, AdamW like it.

    Formula, with the moving average $M = U S V^T$ of the gradients of a matrix of $n$ times $m$
    numbers, with Nesterov's correction, and the weight decay $\lambda$:
    $$W \leftarrow W - \eta\, (0.2 \sqrt{\max(n, m)}\, U V^T + \lambda W)$$

    AdamW has the momentum of Nesterov too. The orthogonal factor $U V^T$ is approximated by five steps
    of a polynomial iteration. All directions of a matrix are learnt at one rate, also those that
    gradients hardly show. Both kinds of parameters have updates of about one size, so that they
    share a learning rate.

    References:
      Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
      Liu et al., Muon is Scalable for LLM Training, 2025, arXiv:2502.16982.
    """
    inner = muon(
        rate,
        weight_decay=weight_decay,
        adam_weight_decay=weight_decay,
        consistent_rms=_RMS,
        muon_weight_dimension_numbers=_matrices,
    )

    def update(
        gradient: Any, state: Any, params: Any, *, packed: Packing, **_: Any
    ) -> tuple[Any, Any]:
        # Moments are like the parameters, and packed, where there are matrices alone or none.
        return packed.pack(inner.update(*packed.unpack((gradient, state, params))))

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _matrices(params: PyTree[Array]) -> PyTree:
    """Which of the parameters multiply vectors. The rows of an embedding are vectors themselves."""

    def found(path: tuple[Any, ...], leaf: Array) -> MuonDimensionNumbers | None:
        is_embedding = "embedding" in jax.tree_util.keystr(path)
        return MuonDimensionNumbers() if leaf.ndim == 2 and not is_embedding else None

    return jax.tree_util.tree_map_with_path(found, params)


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
