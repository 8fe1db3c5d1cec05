"""How large the terms are that an output is the sum of, which its rounding errors grow with."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal
from jaxtyping import Array, PyTree

_CALLS = {
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Operations that call another program, and the parameter that holds it."""

_ARRANGED = {
    *("broadcast_in_dim", "concatenate", "convert_element_type", "copy", "copy_p", "cumsum"),
    *("dynamic_slice", "gather", "pad", "reduce_sum", "reshape", "rev", "scatter-add"),
    *("select_n", "slice", "squeeze", "transpose"),
}
"""Operations that copy, choose or sum entries."""


def with_terms(fn: Callable[..., PyTree[Array]]) -> Callable[..., tuple[PyTree, PyTree]]:
    r"""The function of the same arguments that returns its outputs and the sizes of their terms.

    Formula: an entry $y = \sum_i c_i t_i$, with constants $c_i$ and terms $t_i$ that are no sums,
    has the size $\sum_i |c_i t_i|$. Rounding leaves about so many machine epsilons of $y$, however
    small $y$ is. What is neither a sum nor a constant multiple, such as a product or a sine, is a
    term; so is what a loop computes.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax_frames.testing._terms import with_terms
      >>> value, size = with_terms(lambda x: jnp.mean(jnp.sin(x)))(jnp.array([-1.0, 1.0]))
      >>> float(value), round(float(size), 2)
      (0.0, 0.84)
    """

    def both(*args: Any) -> tuple[PyTree, PyTree]:
        closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
        steps: list[_Step] = []
        inputs = [_Value(leaf, varies=True) for leaf in jax.tree.leaves(args)]
        outputs = _evaluate(closed.jaxpr, closed.consts, inputs, steps)
        _set_terms(steps, outputs)
        tree = jax.tree.structure(shapes)
        return (
            jax.tree.unflatten(tree, [output.array for output in outputs]),
            jax.tree.unflatten(tree, [output.size() for output in outputs]),
        )

    return both


@dataclasses.dataclass(eq=False)
class _Value:
    """An intermediate array, whether it depends on the arguments, and the size of its terms."""

    array: Any
    varies: bool
    terms: Any = None

    def size(self) -> Any:
        return jnp.abs(self.array) if self.terms is None else self.terms


@dataclasses.dataclass(eq=False)
class _Step:
    equation: JaxprEqn
    inputs: list[_Value]
    output: _Value

    def sums(self) -> bool:
        """Whether the size of the output follows from those of the inputs."""
        name = self.equation.primitive.name
        if name not in {"add", "add_any", "sub", "neg", "mul", "div", "dot_general"} | _ARRANGED:
            return False
        if name == "mul" and all(value.varies for value in self.inputs):
            return False
        dtypes = [value.array.dtype for value in (*self.inputs, self.output)]
        complex_ones = any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes)
        return not complex_ones and jnp.issubdtype(dtypes[-1], jnp.floating)

    def terms(self) -> Any:
        name, first = self.equation.primitive.name, self.inputs[0]
        if name in ("add", "add_any", "sub"):
            return first.size() + self.inputs[1].size()
        if name == "neg":
            return first.size()
        if name == "div":
            return first.size() / jnp.abs(self.inputs[1].array)
        sizes = [
            value.size() if jnp.issubdtype(value.array.dtype, jnp.floating) else value.array
            for value in self.inputs
        ]
        if name == "dot_general" and all(value.varies for value in self.inputs):
            # Products of two sums are terms; their sizes would multiply from layer to layer.
            sizes = [jnp.abs(value.array) for value in self.inputs]
        return _bind(self.equation, sizes)


def _evaluate(
    jaxpr: Any, consts: Sequence[Any], inputs: list[_Value], steps: list[_Step]
) -> list[_Value]:
    """The outputs of a program, whose calls are put in place; adds what it does to `steps`."""
    known = dict(zip(jaxpr.constvars, (_Value(const, False) for const in consts), strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> _Value:
        if not isinstance(atom, Literal):
            return known[atom]
        aval: Any = atom.aval
        return _Value(np.asarray(atom.val, aval.dtype), varies=False)

    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        called = equation.params.get(_CALLS.get(equation.primitive.name, ""))
        if called is not None:
            inner, closed = (
                (called.jaxpr, called.consts) if isinstance(called, ClosedJaxpr) else (called, ())
            )
            found = _evaluate(inner, closed, given, steps)
        else:
            results = _bind(equation, [value.array for value in given])
            varies = any(value.varies for value in given)
            if equation.primitive.multiple_results:
                found = [_Value(result, varies) for result in results]
            else:
                found = [_Value(results, varies)]
                steps.append(_Step(equation, given, found[0]))
        known |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: JaxprEqn, arrays: list[Any]) -> Any:
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        return equation.primitive.bind(*arrays, **params)


def _set_terms(steps: list[_Step], outputs: list[_Value]) -> None:
    """Sets the terms of the outputs and of all that these are sums of, and of nothing else."""
    wanted = set(outputs)
    summed = []
    for step in reversed(steps):
        if step.output in wanted and step.sums():
            summed.append(step)
            wanted |= set(step.inputs)
    for step in reversed(summed):
        step.output.terms = step.terms()
