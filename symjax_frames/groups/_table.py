"""The multiplication of a finite group, as a table of indices."""

import functools

import numpy as np

from symjax_frames.groups._group import Group, check_group


@functools.cache
def quotient_table(group: Group) -> np.ndarray:
    """The indices of `g^-1 h` among the elements of a finite group.

    Formula: `elements[table[g, h]] = elements[g]^-1 elements[h]`; row 0 is `0, 1, ...` and row `g` is
    the permutation by which `g` moves the regular representation, `(g.f)(h) = f(g^-1 h)`.

    Args:
      group: a finite group.

    Returns:
      An integer array of shape `(order, order)`.

    Raises:
      ValueError: if the group is infinite.
    """
    check_group("group", group)
    if group.elements is None:
        raise ValueError(f"group must be finite to have a table of products, got {group.name}")
    matrices = np.asarray(group.elements.linear)
    quotients = np.einsum("gji,hjk->ghik", matrices, matrices)
    distances = np.abs(quotients[:, :, None] - matrices).max(axis=(-1, -2))
    table = distances.argmin(axis=-1)
    table.setflags(write=False)
    return table
