"""Networks that compute in bfloat16, of parameters and inputs that stay in float32."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from experiments.config.choices import Precision


def rounded(precision: Precision, tree: PyTree) -> PyTree:
    """The tree itself, or with its floating leaves in bfloat16."""
    return tree if precision == "float32" else _cast(tree, jnp.bfloat16)


def in_precision[Params](
    precision: Precision, network_of: Callable[[Params], Callable[..., PyTree]], params: Params
) -> Callable[..., PyTree]:
    """A network that computes in a precision, whatever the dtypes of its parameters and inputs.

    It goes into an average: frames then see the inputs as they are, and what the network says is
    moved and summed in float32. Gradients by the parameters have the dtype of these.

    Args:
      precision: what parameters and inputs are rounded to.
      network_of: makes the network of the parameters.
      params: the parameters.

    Returns:
      A function of the inputs whose outputs have the dtype of the first floating input.
    """
    if precision == "float32":
        return network_of(params)
    network = network_of(rounded(precision, params))

    def rounded_network(*inputs: Any) -> PyTree:
        given = next(leaf.dtype for leaf in jax.tree.leaves(inputs) if _floats(leaf))
        return _cast(network(*rounded(precision, inputs)), given)

    return rounded_network


def _floats(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if _floats(leaf) else leaf, tree)
