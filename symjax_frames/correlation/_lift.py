"""Correlation lifted to a group, correlation on the group, and what averaging makes of a kernel."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._checks import describe
from symjax_frames._types import Action
from symjax_frames.correlation._correlate import correlate, kernels, kernels_3d
from symjax_frames.groups import Group, check_group, quotient_table
from symjax_frames.transforms import group_average


def lift(
    image: Float[Array, "*batch_and_grid in_features"],
    kernel: Float[Array, "*window in_features out_features"],
    group: Group,
    *,
    padding: str = "SAME",
) -> Float[Array, "*batch_and_out_grid order out_features"]:
    r"""Correlates images with all turned copies of a kernel: the first layer of a group network.

    Formula: $(L f)(x, g) = ((g.k) \star f)(x)$.

    Turning the image turns every map and shifts the group axis,
    $(L\,(h.f))(x, g) = (L f)(h^{-1} x, h^{-1} g)$: lifted maps move by
    `fields(regular(group), channel_axes=2, dim=group.dim)`.

    The correction term: the group average of a correlation, `group_average` with
    `out_actions=images`, is $\frac{1}{|G|} \sum_g g.(k \star (g^{-1}.f))$. It moves every output
    back by `g` before it adds them up. Without that, `out_actions=None`, the sum
    $\frac{1}{|G|} \sum_g k \star (g^{-1}.f)$ is invariant and no longer equivariant: an output that
    should turn with the image stays where it is. Lifting needs no such step, since the turned
    kernel contains it, $(g.k) \star f = g.(k \star (g^{-1}.f))$: one turns a small kernel instead
    of the image and the output. And it does not add the maps up, so that the layers above still
    know which pose gave which response; the mean over the group axis is the group average.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.correlation import correlate, lift
      >>> image = jax.random.normal(jax.random.key(0), (8, 8, 1))
      >>> kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 2))
      >>> lifted = jax.jit(lift, static_argnums=2)(image, kernel, sf.cyclic(4))
      >>> lifted.shape
      (8, 8, 4, 2)
      >>> actions = {"in_actions": (sf.images, None), "out_actions": sf.images}
      >>> averaged = jax.jit(sf.group_average(correlate, sf.cyclic(4), **actions))
      >>> bool(jnp.allclose(averaged(image, kernel), jnp.mean(lifted, axis=-2), atol=1e-5))
      True

    Args:
      image: one square image or any number of them, channels last; cubic volumes for a group of
        space.
      kernel: the kernel at the identity, with three axes `size` for a group of space. Groups that do
        not keep the grid turn it by linear interpolation.
      group: a finite group of the plane, or of space, such as `octahedral()`.
      padding: as in `correlate`; `"SAME"` needs a kernel of odd size to be equivariant.

    Returns:
      One map per element and output feature.

    Raises:
      ValueError: if the group is not finite, or neither of the plane nor of space, and as in
        `correlate`.

    References:
      Cohen and Welling, Group Equivariant Convolutional Networks, ICML 2016, arXiv:1602.07576.
    """
    action = _action(group)
    _check_kernel(kernel, group.dim)
    turned = jax.vmap(action.push, in_axes=(0, None))(group.cast(kernel.dtype), kernel)
    return jax.vmap(functools.partial(correlate, image, padding=padding), out_axes=-2)(turned)


def group_correlate(
    features: Float[Array, "*batch_and_grid order in_features"],
    kernel: Float[Array, "order *window in_features out_features"],
    group: Group,
    *,
    padding: str = "SAME",
) -> Float[Array, "*batch_and_out_grid order out_features"]:
    r"""Correlation on the group, of lifted maps with a kernel over positions and elements.

    Formula: $(k \star f)(x, g) = \sum_y \sum_h f(y, h)\, k(g^{-1}(y - x), g^{-1} h)$, the features
    summed as in `correlate`. Output maps move as the input maps do, by
    `fields(regular(group), channel_axes=2)`.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.correlation import group_correlate
      >>> features, kernel = jnp.ones((2, 8, 8, 4, 3)), jnp.ones((4, 3, 3, 3, 5))
      >>> jax.jit(group_correlate, static_argnums=2)(features, kernel, sf.cyclic(4)).shape
      (2, 8, 8, 4, 5)

    Args:
      features: maps over positions and elements of the group, as `lift` returns them.
      kernel: for each element `h` a kernel at the identity.
      group: a finite group of the plane or of space.
      padding: as in `lift`.

    Returns:
      One map per element and output feature.

    Raises:
      ValueError: if the group axis does not fit the group, and as in `lift`.

    References:
      Cohen and Welling, Group Equivariant Convolutional Networks, ICML 2016, arXiv:1602.07576.
    """
    action, dim = _action(group), group.dim
    table = quotient_table(group)
    _check_kernel(kernel, dim, "order, ")
    if getattr(features, "ndim", 0) < dim + 2 or not (
        features.shape[-2] == kernel.shape[0] == len(table)
    ):
        axes = ", ".join(("depth", "height", "width")[-dim:])
        raise ValueError(
            f"features (..., {axes}, order, in_features) and kernel (order, {'size, ' * dim}...) "
            f"must have the {len(table)} elements of {group.name} as order, got features of "
            f"{describe(features)} and kernel of {describe(kernel)}"
        )
    # The kernel's group axis shifts by an index, its pixels turn: k(g^-1 p, g^-1 h).
    turned = jax.vmap(action.push)(group.cast(kernel.dtype), kernel[table])
    # Elements and features are one axis to a convolution.
    stacked = jnp.moveaxis(turned, 1, dim + 1)
    stacked = stacked.reshape(*stacked.shape[: dim + 1], -1, stacked.shape[-1])
    maps = features.reshape(*features.shape[:-2], stacked.shape[-2])
    return jax.vmap(functools.partial(correlate, maps, padding=padding), out_axes=-2)(stacked)


def average_kernel(
    kernel: Float[Array, "*window in_features out_features"], group: Group
) -> Float[Array, "*window in_features out_features"]:
    r"""The mean of all turned copies of a kernel.

    Formula: $\bar k = \frac{1}{|G|} \sum_g g.k$. Correlation with it is the group average of
    correlation with the kernel, and the mean of the lifted maps:
    $\frac{1}{|G|} \sum_g g.(k \star (g^{-1}.f)) = \bar k \star f = \frac{1}{|G|} \sum_g (L f)(x, g)$.
    Averaging a linear layer leaves no more than a symmetric kernel, which cannot tell directions
    apart. That is why group networks keep the maps apart and average a deep network at its end.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from symjax_frames.correlation import average_kernel
      >>> edge = jnp.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[..., None, None]
      >>> average = jax.jit(average_kernel, static_argnums=1)
      >>> bool(jnp.all(average(edge, sf.cyclic(4)) == 0))
      True

    Args:
      kernel: the kernel at the identity.
      group: a finite group of the plane or of space.

    Returns:
      A kernel that the group leaves as it is.

    Raises:
      ValueError: as `lift`.
    """
    action = _action(group)
    _check_kernel(kernel, group.dim)
    return group_average(_identity, group, in_actions=action, out_actions=None)(kernel)


def _identity(kernel: Array) -> Array:
    return kernel


def _action(group: Group) -> Action:
    """How a group moves the kernels of its space."""
    check_group("group", group)
    if group.dim not in (2, 3):
        raise ValueError(
            "group must be a finite group of the plane or of space, such as dihedral(4) or "
            f"octahedral(), got {group.name} of {group.dim} dimensions"
        )
    return kernels if group.dim == 2 else kernels_3d


def _check_kernel(kernel: Array, dim: int, order: str = "") -> None:
    ndim = dim + 2 + bool(order)
    if getattr(kernel, "ndim", None) != ndim or len(set(kernel.shape[ndim - dim - 2 : -2])) != 1:
        shape = f"({order}{'size, ' * dim}in_features, out_features)"
        raise ValueError(f"kernel must have the shape {shape}, got {describe(kernel)}")
