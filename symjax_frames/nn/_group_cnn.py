"""A convolutional network on a group: lifting, group convolutions, pooling."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames.groups import Group
from symjax_frames.nn._group_conv import GroupConv, LiftingConv
from symjax_frames.nn._group_layers import RegularNorm, SpacePool


class GroupCNN(nnx.Module):
    """Backbone of images: one lifting convolution, then group convolutions, pooled between stages.

    Every convolution is followed by `RegularNorm` and a rectifier; stages are separated by pooling
    of 2 pixels along each axis, and the largest value over all pixels is taken at the end. Features
    of the regular representation come out: moving the image permutes their group axis, `GroupPool`
    makes them invariant. With `cyclic(1)` this is a plain CNN.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from flax import nnx
      >>> from symjax_frames.nn import GroupCNN
      >>> backbone = GroupCNN(sf.cyclic(8), 1, [[4], [8]], rngs=nnx.Rngs(0))
      >>> jax.jit(backbone)(jnp.ones((2, 28, 28, 1))).shape
      (2, 8, 8)

    Args:
      group: a finite group of the plane, or, for volumes, of space, as in `LiftingConv`.
      in_features: channels of the image.
      stages: the features for each group element after every convolution, stage by stage.
      kernel_size: of the group convolutions.
      lifting_kernel_size: of the first convolution.
      basis: of the kernels, as in `LiftingConv`.
      param_dtype: the dtype of the parameters.
      rngs: where they are drawn from.

    Raises:
      ValueError: if `stages` are empty, and as `LiftingConv`; when called, if an axis of the grid
        cannot be halved between stages.
    """

    def __init__(
        self,
        group: Group,
        in_features: int,
        stages: Sequence[Sequence[int]],
        *,
        kernel_size: int = 3,
        lifting_kernel_size: int = 5,
        basis: str = "auto",
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not stages or not all(isinstance(stage, Sequence) and stage for stage in stages):
            raise ValueError(
                "stages must be lists of features with at least one convolution each, such as "
                f"[[8], [16, 16]], got {stages!r}"
            )
        options: dict[str, Any] = {
            "basis": basis,
            "use_bias": False,  # RegularNorm adds one.
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        convs: list[list[nnx.Module]] = []
        before = None
        for stage in stages:
            convs.append([])
            for features in stage:
                if before is None:
                    conv: nnx.Module = LiftingConv(
                        group, in_features, features, lifting_kernel_size, **options
                    )
                else:
                    conv = GroupConv(group, before, features, kernel_size, **options)
                convs[-1].append(conv)
                before = features
        self.stages = nnx.List([nnx.List(stage) for stage in convs])
        self.norms = nnx.List(
            [
                nnx.List([RegularNorm(features, param_dtype=param_dtype) for features in stage])
                for stage in stages
            ]
        )
        self.pool = SpacePool(2, dim=group.dim)

    def __call__(self, x: Float[Array, "batch *grid in"]) -> Float[Array, "batch order features"]:
        """Applies the network."""
        for index, (convs, norms) in enumerate(zip(self.stages, self.norms, strict=True)):
            if index > 0:
                x = self.pool(x)
            for conv, norm in zip(convs, norms, strict=True):
                x = jax.nn.relu(norm(conv(x)))
        return jnp.max(x, axis=tuple(range(1, x.ndim - 2)))
