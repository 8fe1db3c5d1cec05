"""Layers between group convolutions: pooling and normalisation that keep the symmetry."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import check_positive
from symjax_frames._matrices import at_least_float32
from symjax_frames.groups import Group, quotient_table, right_cosets

Kind = Literal["mean", "max"]
_REDUCTIONS: dict[str, Callable[..., Array]] = {"mean": jnp.mean, "max": jnp.max}


class GroupPool(nnx.Module):
    r"""Reduces the group axis: what remains rotates as an ordinary image, or is invariant.

    Formula: $f(x) = \max_g f(x, g)$ or the mean. With `over`, a subgroup $H$ of the group $G$, the
    axis shrinks to the cosets $H g$ and the maps stay invariant under $H$ only:
    `GroupPool(dihedral(4), over=cyclic(4))` keeps apart what is mirrored.

    Example:
      >>> import jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.nn import GroupPool
      >>> maps = jnp.ones((2, 7, 7, 8, 5))
      >>> GroupPool(sf.dihedral(4), "max")(maps).shape
      (2, 7, 7, 5)
      >>> GroupPool(sf.dihedral(4), "max", over=sf.cyclic(4))(maps).shape
      (2, 7, 7, 2, 5)

    Args:
      group: the group whose axis the feature maps have.
      kind: `"mean"` or `"max"`.
      over: the subgroup to pool over; the whole group by default.

    Raises:
      ValueError: if `kind` is none of the two, or `over` is no subgroup of `group`; when called, if
        the group axis has another length.
    """

    def __init__(self, group: Group, kind: Kind = "mean", *, over: Group | None = None):
        _check_kind(kind)
        self.kind = kind
        self.order = len(quotient_table(group))
        self.cosets = None if over is None else right_cosets(group, over, "over")

    def __call__(
        self, x: Float[Array, "*batch order features"]
    ) -> Float[Array, "*batch features"] | Float[Array, "*batch cosets features"]:
        """Applies the layer."""
        if x.ndim < 2 or x.shape[-2] != self.order:
            raise ValueError(f"input must have shape (..., {self.order}, features), got {x.shape}")
        reduce = _REDUCTIONS[self.kind]
        if self.cosets is None:
            return reduce(x, axis=-2)
        parts = [reduce(x[..., list(coset), :], axis=-2) for coset in self.cosets]
        return jnp.stack(parts, axis=-2)


class SpacePool(nnx.Module):
    """Reduces windows of pixels that do not overlap, on feature maps with or without a group axis.

    Args:
      size: pixels along a side of a window.
      kind: `"mean"` or `"max"`.
      dim: 2 for images, 3 for volumes `(batch, depth, height, width, ...)`.

    Raises:
      ValueError: if `size` is not positive, `kind` none of the two or `dim` neither; when called, if
        the input is no batch of feature maps, or `size` does not divide the lengths of the grid:
        windows would leave out pixels on one side only, which breaks the symmetry.
    """

    def __init__(self, size: int = 2, kind: Kind = "mean", *, dim: int = 2):
        check_positive("size", size)
        _check_kind(kind)
        if dim not in (2, 3):
            raise ValueError(f"dim must be 2 (images) or 3 (volumes), got {dim!r}")
        self.size, self.kind, self.dim = size, kind, dim

    def __call__(
        self, x: Float[Array, "batch *grid_and_features"]
    ) -> Float[Array, "batch *coarse_grid_and_features"]:
        """Applies the layer."""
        axes = ("depth", "height", "width")[-self.dim :]
        if x.ndim < self.dim + 2:
            raise ValueError(
                f"input must have shape (batch, {', '.join(axes)}, ...), got {x.shape}"
            )
        grid = x.shape[1 : self.dim + 1]
        if any(length % self.size for length in grid):
            raise ValueError(
                f"size={self.size} must divide the {_listed(axes)}, got {_listed(grid)}; "
                "windows would leave out pixels on one side only, which breaks the symmetry"
            )
        windows = x
        for axis, length in zip(range(1, 2 * self.dim, 2), grid, strict=True):
            # One axis at a time, as a batch that is split over devices asks for.
            parts = (length // self.size, self.size)
            windows = windows.reshape(*windows.shape[:axis], *parts, *windows.shape[axis + 1 :])
        inside = tuple(range(2, 2 * self.dim + 1, 2))
        return _REDUCTIONS[self.kind](windows, axis=inside)


class RegularNorm(nnx.Module):
    r"""Instance normalisation of feature maps with a group axis, which keeps the symmetry.

    Formula: $y = \gamma\,(x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$, with the mean and the
    variance of each feature over the pixels and group elements of one image, and $\gamma, \beta$
    one number per feature. (A scale for each group element would break the symmetry; statistics
    over a batch would make the outputs depend on the other images.)

    Args:
      features: features for each group element.
      epsilon: added to the variance, positive.
      param_dtype: the dtype of the parameters.
      rngs: accepted as by every layer; the parameters start at one and zero.

    Raises:
      ValueError: if `features` or `epsilon` are not positive; when called, if the input is no
        feature map with a group axis and that many features.

    References:
      Ulyanov et al., Instance Normalization, 2016, arXiv:1607.08022.
    """

    def __init__(
        self,
        features: int,
        *,
        epsilon: float = 1e-5,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs
        check_positive("features", features)
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon!r}")
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features, param_dtype))
        self.bias = nnx.Param(jnp.zeros(features, param_dtype))

    def __call__(
        self, x: Float[Array, "batch *grid order features"]
    ) -> Float[Array, "batch *grid order features"]:
        """Applies the layer."""
        if x.ndim not in (5, 6) or x.shape[-1] != self.scale.shape[0]:
            raise ValueError(
                f"input must have shape (batch, height, width, order, {self.scale.shape[0]}) or (batch, "
                f"depth, height, width, order, {self.scale.shape[0]}), got {x.shape}"
            )
        # Behind the barrier the statistics are reductions of an array in memory; fused into the
        # convolution's epilogue and its derivative they take 1.5 times as long on CPU.
        batch, *grid, order, features = x.shape
        # One axis at a time, here and at the end, as a batch that is split over devices asks for.
        maps = x.reshape(batch, *grid, order * features)
        flat = jax.lax.optimization_barrier(maps.reshape(batch, math.prod(grid), order * features))
        wide = at_least_float32(flat)

        def mean_of(values: Array) -> Float[Array, "batch features"]:
            return jnp.mean(jnp.mean(values, axis=1).reshape(-1, order, features), axis=1)

        def on_maps(values: Array) -> Float[Array, "#batch 1 maps"]:
            return jnp.tile(values, (1, order))[:, None, :]

        # The mean square less the squared mean would lose the digits of a variance far below it,
        # and be infinity minus infinity for large numbers.
        centred = wide - on_maps(mean_of(wide))
        variance = mean_of(centred * centred)
        inverse = jax.lax.rsqrt(variance + jnp.asarray(self.epsilon, wide.dtype))
        scale, bias = (
            on_maps(jnp.asarray(param[...], wide.dtype)[None]) for param in (self.scale, self.bias)
        )
        normed = (centred * (on_maps(inverse) * scale) + bias).astype(x.dtype)
        return normed.reshape(maps.shape).reshape(x.shape)


def _check_kind(kind: str) -> None:
    if kind not in _REDUCTIONS:
        raise ValueError(f"kind must be one of {', '.join(_REDUCTIONS)}, got {kind!r}")


def _listed(values: Sequence) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}"
