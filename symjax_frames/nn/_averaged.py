"""An average as a module: its parameters train, and its random streams go on."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, PyTree

from symjax_frames._checks import check_callable, check_positive, describe
from symjax_frames._draws import Draws
from symjax_frames._trees import check_actions
from symjax_frames._types import Action, Frame
from symjax_frames.groups import Group, QuadratureRule
from symjax_frames.nn._fork import Fork, draw
from symjax_frames.sampling import sampled_average
from symjax_frames.transforms import frame_average, group_average


class Averaged(nnx.Module):
    """A module averaged over a frame or a group; `averaged` makes it, and documents it.

    Attributes:
      module: the module that is averaged.
      source: the frame or the group.
      deterministic: whether all elements are taken where some could be drawn. `train()` and
        `eval()` set it.
    """

    def __init__(
        self,
        module: nnx.Module,
        source: Callable[..., Frame] | Group,
        *,
        in_actions: PyTree[Action | None],
        out_actions: PyTree[Action | None],
        frame_argnums: int | Sequence[int],
        already: Group | None,
        batch_size: int | None,
        spmd_axis_name: str | None,
        num_samples: int | None,
        draws: Draws | Group,
        rngs: nnx.Rngs | None,
    ):
        check_actions(in_actions, "in_actions")
        check_actions(out_actions, "out_actions")
        self.module, self.source = module, source
        # Static parts of a module are hashed and compared, so they are no lists and dictionaries.
        # Actions are trees without leaves: their structure is all that there is.
        self.actions: Any = jax.tree.structure((in_actions, out_actions))
        self.frame_argnums = (
            tuple(frame_argnums) if isinstance(frame_argnums, Sequence) else frame_argnums
        )
        self.already, self.num_samples, self.draws = already, num_samples, draws
        self.batch_size, self.spmd_axis_name = batch_size, spmd_axis_name
        if rngs is not None:
            self.deterministic = False
            self.rngs = rngs["frame"].fork()

    def __call__(self, *args: Any, **kwargs: Any) -> PyTree[Array]:
        """Averages the module at these arguments."""
        fork = Fork(self.module, args, kwargs)
        if self.num_samples is None or self.deterministic:
            outputs = self._whole(fork.call)(*args, **kwargs)
        else:
            outputs = self._sampled(fork.call)(draw(self.rngs), *args, **kwargs)
        fork.advance()
        return outputs

    def _whole(self, fn: Callable[..., PyTree[Array]]) -> Callable[..., PyTree[Array]]:
        """The average of a function as that of the module: over all elements."""
        options = {
            **self._actions(),
            "batch_size": self.batch_size,
            "spmd_axis_name": self.spmd_axis_name,
        }
        if not isinstance(self.source, Group):
            return frame_average(fn, self.source, frame_argnums=self.frame_argnums, **options)
        if self.num_samples is not None and self.source.elements is None:
            raise ValueError(
                f"source {self.source.name} is infinite, so that eval() has no whole average to take; "
                "draw samples in evaluation too, after train() of this module, or take "
                "quadrature(group, degree) as the source"
            )
        return group_average(fn, self.source, already=self.already, **options)

    def _sampled(self, fn: Callable[..., PyTree[Array]]) -> Callable[..., PyTree[Array]]:
        """The average of a function over some elements that are drawn, with the key first."""
        return sampled_average(
            fn,
            self.source,
            frame_argnums=self.frame_argnums,
            num_samples=self.num_samples or 1,
            draws=self.draws,
            spmd_axis_name=self.spmd_axis_name,
            **self._actions(),
        )

    def _actions(self) -> dict[str, PyTree[Action | None]]:
        in_actions, out_actions = self.actions.unflatten(())
        return {"in_actions": in_actions, "out_actions": out_actions}


def averaged(
    module: nnx.Module,
    source: Callable[..., Frame] | QuadratureRule | Group,
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    frame_argnums: int | Sequence[int] = 0,
    already: Group | None = None,
    batch_size: int | None = None,
    spmd_axis_name: str | None = None,
    num_samples: int | None = None,
    draws: Draws | Group = "independent",
    rngs: nnx.Rngs | None = None,
) -> Averaged:
    r"""Makes a module exactly equivariant, as a module that trains like any other.

    `frame_average(module, ...)` is a function that closes over the module: `nnx.grad` does not see
    its parameters, and `jax.jit` keeps those that it was compiled with. The average made here has
    the module as a part: `nnx.grad`, `nnx.jit`, `nnx.split` and `nnx.Optimizer` see its parameters,
    `train()` and `eval()` reach its layers.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> from flax import nnx
      >>> from symjax_frames import nn
      >>> dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
      >>> model = nn.averaged(dense, sf.pca_frame, in_actions=sf.points, out_actions=sf.points)
      >>> points = jax.random.normal(jax.random.key(0), (5, 2))
      >>> loss = lambda model: jnp.sum(model(points) ** 2)
      >>> gradient = nnx.jit(nnx.grad(loss))(model)
      >>> bool(jnp.any(gradient.module.kernel[...] != 0))
      True

    **Dropout.** All elements share one mask, and every call draws a new one. With
    `deterministic=True`, which `eval()` sets, there is none.

    **Other state** that a call would change, such as the running statistics of BatchNorm in
    training, is refused: each element would change it.

    **Samples.** With `num_samples`, training draws so many elements in each call, as
    `sampled_average` does, and after `eval()` all are taken.

    Args:
      module: the module to average. `in_actions` move its positional arguments.
      source: a frame, as in `frame_average`, a group, as in `group_average`, or a `quadrature`. A
        frame that is a module itself is trained too.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      frame_argnums: the positional arguments that a frame is called with.
      already: as in `group_average`, for a group.
      batch_size: as in `frame_average`; samples are evaluated all at once.
      spmd_axis_name: as in `frame_average`.
      num_samples: the number of elements drawn in training; by default all are taken.
      draws: as in `sampled_average`, how they depend on each other.
      rngs: with `num_samples`, where the keys come from: its stream `frame`, or the default one.

    Returns:
      A module with the signature of `module`.

    Raises:
      ValueError: if `module` is no NNX module, if only one of `num_samples` and `rngs` is given,
        and as the transforms; when called, if the module changes its state, or if its random
        streams cannot go on since a function under `jit` or `grad` closes over it.
    """
    if not isinstance(module, nnx.Module) or not callable(module):
        raise ValueError(
            "module must be an nnx.Module that can be called, got "
            f"{describe(module)}; other functions go to frame_average, their parameters as an argument"
        )
    if (num_samples is None) != (rngs is None):
        raise ValueError(
            "num_samples and rngs must be given together, or neither of them, got "
            f"num_samples={num_samples!r} and rngs of type {type(rngs).__name__}"
        )
    if num_samples is not None:
        check_positive("num_samples", num_samples)
    if isinstance(source, QuadratureRule):
        # A function, since arrays that are a part of a module would be its state.
        rule = source
        source = lambda *_: rule  # noqa: E731
    if not isinstance(source, Group):
        check_callable("source", source)
    model = Averaged(
        module,
        source,
        in_actions=in_actions,
        out_actions=out_actions,
        frame_argnums=frame_argnums,
        already=already,
        batch_size=batch_size,
        spmd_axis_name=spmd_axis_name,
        num_samples=num_samples,
        draws=draws,
        rngs=rngs,
    )
    # Both are made once here, for the errors that they raise.
    if num_samples is not None:
        model._sampled(module)
    if num_samples is None or not isinstance(source, Group) or source.elements is not None:
        model._whole(module)
    return model
