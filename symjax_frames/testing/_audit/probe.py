"""The function under audit, compiled: evaluated and differentiated at moved inputs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from symjax_frames._checks import describe
from symjax_frames._matrices import apply
from symjax_frames._terms import apply_action
from symjax_frames._trees import argument_actions, check_actions, map_actions
from symjax_frames._types import Action
from symjax_frames.elements import Isometry
from symjax_frames.testing._quick import quick_jit

_SLOPES_AT_ONCE = 16
"""Derivatives are wanted at one input or a few, and those of a batch are always computed."""

Permute = bool | Callable[[Any, tuple], tuple]
"""Whether fn commutes with relabelling the points, or how its arguments are relabelled."""


class Layout(NamedTuple):
    """How arguments are put together again; static, and the same for clouds of one shape.

    Attributes:
      tree: of the arguments.
      moved: the indices of the leaves that the group moves.
      arrays: the indices of the other leaves that are arrays.
      constants: the remaining leaves, which are not traced.
      row_outputs: for each floating output whether its first axis counts points.
    """

    tree: Any
    moved: tuple[int, ...]
    arrays: tuple[int, ...]
    constants: tuple[Any, ...]
    row_outputs: tuple[bool, ...] = ()

    def join(self, moved: Sequence[Any], fixed: Sequence[Any]) -> tuple:
        """The arguments of the function."""
        leaves = dict(zip((*self.moved, *self.arrays), (*moved, *fixed), strict=True))
        others = iter(self.constants)
        count = self.tree.num_leaves
        return self.tree.unflatten(
            [leaves[index] if index in leaves else next(others) for index in range(count)]
        )


class Output(NamedTuple):
    """What is known of a floating output before it is computed."""

    shape: tuple[int, ...]
    dtype: Any
    action: Action | None


class Slopes(NamedTuple):
    """Derivatives of a projection of the output, one set per row.

    Attributes:
      moved: by the leaves that the group moves.
      turn: by `A` in `x -> x + A (x - centre)`.
      step: by a translation.
    """

    moved: list[np.ndarray]
    turn: np.ndarray
    step: np.ndarray


class Probe:
    """Evaluates a function at inputs moved by group elements, and moves its outputs back.

    Args:
      fn: the function.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      permutes: as in `audit`.
      dtype: of all floating arguments.
      batch_size: how many inputs are evaluated at a time.
    """

    def __init__(
        self,
        fn: Callable[..., PyTree],
        in_actions: PyTree[Action | None],
        out_actions: PyTree[Action | None],
        permutes: Permute,
        dtype: Any,
        batch_size: int,
    ):
        self.in_actions = argument_actions(in_actions)
        check_actions(out_actions, "out_actions")
        self.out_actions = out_actions
        self.permutes = permutes
        self.dtype = dtype
        self.batch_size = batch_size
        # Traced once for each shape, whatever is made of it.
        self._traced = jax.jit(
            lambda layout, arrays: fn(*layout.join([], arrays)), static_argnums=0
        )
        self._values = quick_jit(
            jax.vmap(self._outputs, in_axes=(None, 0, None, 0, 0, 0)), static_argnums=0
        )
        self._slopes = quick_jit(
            jax.vmap(self._derivatives, in_axes=(None, 0, None, None, None)), static_argnums=0
        )

    def split(self, args: tuple) -> tuple[Layout, list[np.ndarray], list[Any]]:
        """Arguments taken apart into their layout, the leaves that move, and other arrays."""
        actions: list[Action | None] = []
        map_actions(
            lambda action, leaf, name: actions.append(action), self.in_actions, args, "argument"
        )
        leaves, tree = jax.tree.flatten(args)
        moved = [index for index, action in enumerate(actions) if action is not None]
        arrays = [
            index for index, leaf in enumerate(leaves) if index not in moved and _is_array(leaf)
        ]
        constants = [
            leaf for index, leaf in enumerate(leaves) if index not in moved and index not in arrays
        ]
        layout = Layout(tree, tuple(moved), tuple(arrays), tuple(constants))
        fixed = [self._cast(leaves[index]) for index in arrays]
        return layout, [np.asarray(leaves[index], self.dtype) for index in moved], fixed

    def outline(self, args: tuple) -> list[Output]:
        """The floating outputs for the given arguments, traced and not computed."""
        floating: list[Output] = []

        def collect(action: Action | None, leaf: Any, name: str) -> None:
            if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                raise ValueError(
                    f"{name} is {leaf.dtype}; return its real and imaginary parts as two outputs"
                )
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                floating.append(Output(leaf.shape, leaf.dtype, action))

        layout, moved, fixed = self.split(args)
        shapes = jax.eval_shape(
            lambda moved, fixed: self._call(layout.join(moved, fixed)), moved, fixed
        )
        map_actions(collect, self.out_actions, shapes, "output")
        if not floating:
            kinds = [describe(leaf) for leaf in jax.tree.leaves(shapes)]
            raise ValueError(
                f"fn must return a floating array, got {', '.join(kinds) or 'nothing'}"
            )
        return floating

    def values(
        self,
        layout: Layout,
        fixed: list[Any],
        moved: list[np.ndarray],
        linear: np.ndarray,
        shift: np.ndarray,
        order: np.ndarray,
    ) -> list[np.ndarray]:
        """The outputs at `rho_in(g) x`, moved back by `rho_out(g)^-1`: a float64 row per input."""
        parts = []
        for batch in self._batches([*moved, linear, shift, order], self.batch_size):
            *some, linears, shifts, orders = batch
            parts.append(self._values(layout, some, fixed, linears, shifts, orders))
        return self._gather(parts, len(order))

    def slopes(
        self,
        layout: Layout,
        fixed: list[Any],
        moved: list[np.ndarray],
        cotangents: list[np.ndarray],
        centre: np.ndarray,
    ) -> Slopes:
        """The derivatives of the sum of all outputs times their `cotangents`."""
        centre = centre.astype(self.dtype)
        cotangents = [cotangent.astype(self.dtype) for cotangent in cotangents]
        parts = []
        for batch in self._batches(moved, min(self.batch_size, _SLOPES_AT_ONCE)):
            slopes = self._slopes(layout, batch, fixed, cotangents, centre)
            parts.append(jax.tree.leaves(slopes))
        *by_moved, by_turn, by_step = self._gather(parts, len(moved[0]))
        return Slopes(by_moved, by_turn, by_step)

    def _batches(self, arrays: list[np.ndarray], size: int) -> list[list[np.ndarray]]:
        # Whole batches only: another size would be compiled once more.
        rows = np.arange(-(-len(arrays[0]) // size) * size).clip(max=len(arrays[0]) - 1)
        return [
            [
                np.asarray(array[some], None if array.dtype.kind == "i" else self.dtype)
                for array in arrays
            ]
            for some in rows.reshape(-1, size)
        ]

    def _gather(self, parts: list[Any], count: int) -> list[np.ndarray]:
        return [
            np.concatenate([np.asarray(leaf, np.float64) for leaf in leaves])[:count]
            for leaves in zip(*parts, strict=True)
        ]

    def _cast(self, leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return leaf
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, self.dtype if floating else None)

    def _outputs(
        self, layout: Layout, moved: Any, fixed: Any, linear: Any, shift: Any, order: Any
    ) -> list[Any]:
        g = Isometry(linear, shift)
        args = self._pushed(g, layout.join(moved, fixed))
        leaves = self._floating(self._call(self._permuted(args, order)), g)
        if self.permutes:
            back = jnp.argsort(order)
            rows = zip(leaves, layout.row_outputs, strict=True)
            leaves = [leaf[back] if by_point else leaf for leaf, by_point in rows]
        return [leaf.ravel() for leaf in leaves]

    def _pushed(self, g: Isometry, args: tuple) -> tuple:
        def push(action: Action | None, leaf: Any, name: str) -> Any:
            return leaf if action is None else apply_action(action.push, g, leaf, name)

        return map_actions(push, self.in_actions, args, "argument")

    def _floating(self, outputs: PyTree, g: Isometry | None = None) -> list[Any]:
        """The floating outputs in the dtype of the audit, moved back by an element if there is one."""

        def pull(action: Action | None, leaf: Any, name: str) -> Any:
            leaf = jnp.asarray(leaf)
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            leaf = leaf.astype(self.dtype)
            if action is None or g is None:
                return leaf
            return apply_action(action.pull, g, leaf, name)

        leaves = jax.tree.leaves(map_actions(pull, self.out_actions, outputs, "output"))
        return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def _call(self, args: tuple) -> Any:
        leaves, tree = jax.tree.flatten(args)
        arrays = [index for index, leaf in enumerate(leaves) if _is_array(leaf)]
        constants = tuple(leaf for leaf in leaves if not _is_array(leaf))
        layout = Layout(tree, (), tuple(arrays), constants)
        return self._traced(layout, [leaves[index] for index in arrays])

    def _permuted(self, args: tuple, order: Any) -> tuple:
        if callable(self.permutes):
            return self.permutes(order, args)
        if not self.permutes:
            return args
        return jax.tree.map(
            lambda leaf: leaf[order] if np.shape(leaf)[:1] == order.shape else leaf, args
        )

    def _derivatives(
        self, layout: Layout, moved: Any, fixed: Any, cotangents: Any, centre: Any
    ) -> tuple[Any, Any, Any]:
        def projection(moved: Any) -> Any:
            leaves = self._floating(self._call(layout.join(moved, fixed)))
            return sum(
                jnp.sum(c * leaf.ravel()) for c, leaf in zip(cotangents, leaves, strict=True)
            )

        def pushed(turn: Any, step: Any) -> list[Any]:
            linear = jnp.eye(len(centre), dtype=self.dtype) + turn
            g = Isometry(linear, step + centre - apply(linear, centre))
            leaves = jax.tree.leaves(self._pushed(g, layout.join(moved, fixed)))
            return [leaves[index] for index in layout.moved]

        # The function is differentiated by its arguments alone, and these by the element.
        by_moved = jax.grad(projection)(moved)
        still = jnp.zeros_like(centre)
        by_element = jax.vjp(pushed, jnp.outer(still, still), still)[1](by_moved)
        return by_moved, *by_element


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)
