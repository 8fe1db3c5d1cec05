"""The multiplication of a finite group as indices: the table of quotients, and cosets."""

import functools

import numpy as np

from symjax_frames.groups._group import Group, check_group


@functools.cache
def quotient_table(group: Group) -> np.ndarray:
    """The indices of `g^-1 h` among the elements of a finite group.

    Formula: `elements[table[g, h]] = elements[g]^-1 elements[h]`; row 0 is `0, 1, ...` and row `g`
    is the permutation by which `g` moves the regular representation, `(g.f)(h) = f(g^-1 h)`.

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
    # The nearest orthogonal matrix is the one with the largest inner product. One row at a time,
    # since all products of a few hundred elements at once would take gigabytes.
    rows = (np.einsum("hik,mik->hm", element.T @ matrices, matrices) for element in matrices)
    table = np.stack([row.argmax(axis=-1) for row in rows]).astype(np.int32)
    table.setflags(write=False)
    return table


def right_cosets(
    group: Group, subgroup: Group, name: str = "subgroup"
) -> tuple[tuple[int, ...], ...]:
    """The cosets `H g` of a subgroup `H`, as sorted indices: multiplying by `H` stays within one.

    The inverses of the elements of `H g` are those of the left coset `g^-1 H`.

    Args:
      group: a finite group.
      subgroup: a group that may be its subgroup.
      name: what messages call `subgroup`, the name of the option it was given as.

    Returns:
      The cosets in the order of their first elements, `H` itself first.

    Raises:
      ValueError: if `subgroup` is infinite or no subgroup of `group`.
    """
    table = quotient_table(group)
    check_group(name, subgroup)
    members = None
    if subgroup.elements is not None and subgroup.dim == group.dim:
        elements, candidates = (
            np.asarray(one.elements.linear)  # type: ignore[union-attr]
            for one in (group, subgroup)
        )
        distance = np.abs(candidates[:, None] - elements).max(axis=(-1, -2))
        if np.all(distance.min(axis=-1) < 1e-9):
            members = distance.argmin(axis=-1)
    if members is None:
        raise ValueError(f"{name} must be a subgroup of {group.name}, got {subgroup.name}")
    # A subgroup has the inverses of its elements, so their quotients with g are all of H g.
    cosets = (tuple(sorted(table[members, g].tolist())) for g in range(len(table)))
    return tuple(dict.fromkeys(cosets))
