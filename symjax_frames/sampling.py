"""The transform for training: an unbiased estimate of an average from a few of its elements."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from symjax_frames._checks import check_key, check_positive
from symjax_frames._draws import Draws, draw_elements, plan_of, with_orbits
from symjax_frames._frame_arguments import frame_of_arguments
from symjax_frames._trees import elements_dtype
from symjax_frames._types import Action, Frame
from symjax_frames._weighted_sum import check_weights, make_average
from symjax_frames._wrapping import named_after
from symjax_frames.elements import Isometry
from symjax_frames.groups import Group, QuadratureRule


def sampled_average[**P, R](
    fn: Callable[P, R],
    source: Callable[..., Frame] | QuadratureRule | Group,
    *,
    in_actions: PyTree[Action | None],
    out_actions: PyTree[Action | None],
    frame_argnums: int | Sequence[int] = 0,
    num_samples: int = 1,
    draws: Draws | Group = "independent",
    spmd_axis_name: str | None = None,
    has_aux: bool = False,
) -> Callable[Concatenate[Key[Array, ""], P], R]:
    r"""An unbiased random estimate of the average of `fn`, at a fraction of its cost.

    Draws `num_samples` elements $g_k$ with probability $w_k(x)$ from a frame, or from the Haar
    measure of a compact group, and returns the mean of
    $(w_k / \mathrm{stop}(w_k))\, \rho_{out}(g_k)\, \phi(\rho_{in}(g_k)^{-1} x)$: value and gradient
    are unbiased, through the weights too. Train with samples, evaluate with the full average.

    Elements that are drawn together may be chosen to differ. The mean stays what it was, and the
    variance of the value and of the gradient falls at the same cost. `draws` is one of

    * `"independent"`: each on its own, with replacement.
    * `"systematic"`: laid out in a row by their weights, in the order of the frame or of the finite
      group, the elements under equidistant marks, which one uniform number shifts. So they are drawn
      without replacement, but for elements of more than $1 / n$ of the weight. Closures by the
      signs of the axes, such as PCA frames, are laid out so that 2 elements in space differ by a
      half turn of the axes, and 4 by all three: what the function has of first degree in each axis
      cancels, and with 4 what it has of second degree in two of them.
    * `"antithetic"`: systematic pairs of an element $g$ and its negative $-g$, which share the shift.
    * a finite group $H$: a few elements, each with its whole orbit $\{g h : h \in H\}$: one random
      rotation with those of a cube, by `octahedral()`. Antithetic pairs are the orbits of
      `groups.inversion`. There are none of rotations of space, no two of which are opposite, and
      whose orbits under the half turns `signs(3, proper=True)` serve as well.

    Orbits estimate the average over the frame $F(x) H$, as `close` makes it. That is the average over
    $F(x)$ itself where the frame is closed under $H$, with one weight for each orbit, which is not
    verified: PCA frames are under `signs(dim)` and its subgroups, those of O and E under the
    inversion too, and a robust frame of O or E is under the reflection of its last axis.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> energy = lambda x: jnp.sum(jnp.sin(x + 1))
      >>> sampled = sf.sampled_average(
      ...     energy, sf.orthogonal(3), in_actions=sf.vectors, out_actions=None, num_samples=4
      ... )
      >>> jax.jit(sampled)(jax.random.key(0), jnp.ones((5, 3))).shape
      ()

    Args:
      fn: any callable on arrays.
      source: a frame or a rule, as in `frame_average`, or a compact group, finite or not.
      in_actions: as in `frame_average`.
      out_actions: as in `frame_average`.
      frame_argnums: the arguments (after the key) a frame is called with.
      num_samples: the number of elements drawn; of orbits, that of all their elements.
      draws: how they depend on each other.
      spmd_axis_name: as in `frame_average`.
      has_aux: as in `frame_average`; `aux` has an entry for each element drawn.

    Returns:
      A pure function of `(key, *args)`, the PRNG key first, with the name and docstring of `fn`.

    Raises:
      ValueError: if the group is not compact, `draws` is no word or finite group of those above,
        `num_samples` is no multiple of the elements of an orbit, a group has no such elements or
        orbits, and as in `frame_average`.

    References:
      Duval et al., FAENet, ICML 2023, arXiv:2305.05577.
      Systematic draws: Douc, Cappé and Moulines, Comparison of resampling schemes for particle
      filtering, ISPA 2005, arXiv:cs/0507025.
    """
    num_samples = check_positive("num_samples", num_samples)
    if not isinstance(source, Group):
        select = frame_of_arguments("source", source, frame_argnums)
    elif not source.compact:
        raise ValueError(
            f"source: {source.name} is not compact, so there is no uniform measure to draw from; "
            "center the data (translation frame) and use O or SO"
        )
    plan = plan_of(draws, num_samples, source)
    average = make_average(fn, in_actions, out_actions, None, spmd_axis_name, has_aux)

    def sampled(key: Key[Array, ""], *args: Any, **kwargs: Any) -> Any:
        check_key("the first argument of a sampled average", key)
        if not isinstance(source, Group):
            frame = select(args, kwargs)
            check_weights(frame.weights, drawn=True)
            drawn = draw_elements(key, frame, plan)
        elif plan.systematic:
            elements = source.cast(elements_dtype(in_actions, args))
            drawn = draw_elements(key, _uniform(elements), plan)
        else:
            dtype = elements_dtype(in_actions, args)
            keys = jax.random.split(key, plan.bases)
            drawn = _uniform(jax.vmap(lambda one_key: source.draw(one_key, dtype))(keys))
        return average(with_orbits(drawn, plan), args, kwargs)

    return named_after(fn, sampled, key_first=True)


def _uniform(elements: Isometry) -> Frame:
    count = len(elements.linear)
    return Frame(elements, jnp.full(count, 1 / count, elements.linear.dtype))
