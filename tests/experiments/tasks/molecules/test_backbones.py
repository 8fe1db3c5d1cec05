import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.tasks.molecules.networks import basis
from symjax_frames import nn
from tests.helpers.backbones import (
    CUTOFF,
    EVERY,
    NEEDS_E3X,
    OWN,
    along_approach,
    complete,
    draw_backbone,
    draw_molecule,
    jit,
    output,
    output_and_gradient,
)
from tests.helpers.networks import pairs, promotion, relative

EPS = np.finfo(np.float64).eps
# Epsilons of rounding: sums of a few dozen terms in another order, in networks six maps deep, of
# which the gradient by close atoms is ten times as steep.
FEW = 2000
FOUR = np.arange(6) < 4


@pytest.mark.parametrize("name", EVERY)
def test_only_real_atoms_and_their_pairs_count(name):
    network = draw_backbone(name, np.float64)
    positions, species = draw_molecule()
    run = functools.partial(output_and_gradient, network)
    reference = run(positions, species, complete(FOUR))
    np.testing.assert_array_equal(reference[1][4:], 0)

    # Bit for bit: nothing is read of padding, wherever and whatever it is.
    on_an_atom, far = positions.copy(), positions.copy()
    on_an_atom[4:], far[4:] = positions[0], [[1e8, 0, 0], [-1e8, 1e8, 3]]
    for moved, kinds in [(on_an_atom, species), (far, np.where(FOUR, species, 0))]:
        others = run(moved, kinds, complete(FOUR))
        np.testing.assert_array_equal(others[0][:4], reference[0][:4])
        np.testing.assert_array_equal(others[1], reference[1])

    order = np.array([2, 0, 5, 3, 1, 4])
    mixed = run(positions[order], species[order], complete(FOUR[order]))
    for result, expected in zip(mixed, reference, strict=True):
        back = np.asarray(result)[np.argsort(order)]
        assert relative(back[:4], expected[:4]) < FEW * EPS

    more = run(positions, species, complete(np.arange(6) < 5))
    exchanged = run(positions[[1, 0, 2, 3, 4, 5]], species, complete(FOUR))
    for control in (more[0][:4], exchanged[0][np.array([1, 0, 2, 3])]):
        assert relative(control, reference[0][:4]) > 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_a_list_of_edges_equals_a_padded_complete_graph(name):
    network = draw_backbone(name, np.float64)
    positions, species = draw_molecule()
    expected = output_and_gradient(network, positions, species, complete(FOUR))[0][:4]

    # One padding atom, with edges to it, an edge from an atom to itself, in any order.
    senders, receivers = np.concatenate([np.transpose(pairs(5)), [[3, 3], [4, 4]]]).T
    shuffle = np.random.default_rng(0).permutation(len(senders))
    mask = np.arange(5) < 4

    def listed(senders, receivers):
        edges = nn.EdgeList(senders[shuffle], receivers[shuffle], mask)
        return output(network, positions[:5], species[:5], edges)[:4]

    assert relative(listed(senders, receivers), expected) < FEW * EPS
    if name != "point_sum":
        assert relative(listed(senders, np.roll(receivers, 3)), expected) > 1e-3


STEPS = np.array([1e-2, 1e-3])


def is_continuous(values):
    """Whether what depends on two steps, one a tenth of the other, shrinks with them."""
    large, small = np.max(np.abs(values), axis=-1)
    return small <= 0.2 * large + 10 * EPS


@pytest.mark.parametrize("name", [name for name in EVERY if name != "point_sum"])
def test_two_derivatives_are_continuous_at_the_cutoff(name, monkeypatch):
    network = draw_backbone(name, np.float64, layers=1)
    distances = CUTOFF + np.array([*-STEPS, *STEPS, 0, -1])
    values = np.asarray(along_approach(network, distances, 2))
    before, beyond, (at, within) = values[:2], values[2:4], values[4:]

    for order in range(3):
        assert is_continuous(before[:, order] - at[order])
    for order in range(2):
        # One-sided differences agree with the derivative.
        quotient = (at[order] - before[:, order]) / STEPS[:, None]
        assert is_continuous(quotient - at[order + 1])
    assert np.max(np.abs(beyond - at)) < 10 * EPS
    assert np.min(np.abs(within[1:])) > 1e-3

    def cut(distance, cutoff):
        return jnp.where(distance < cutoff, jnp.ones_like(distance), jnp.zeros_like(distance))

    if name == "e3x":
        import e3x

        monkeypatch.setattr(e3x.nn, "smooth_cutoff", cut)
    else:
        monkeypatch.setattr(basis, "envelope", cut)
    abrupt = jit(lambda network, distances: along_approach.__wrapped__(network, distances, 1))
    values = np.asarray(abrupt(network, distances))
    assert not all(is_continuous(values[:2, order] - values[4, order]) for order in range(2))


@pytest.mark.parametrize("name", EVERY)
def test_degenerate_molecules_make_no_nan(name):
    network = draw_backbone(name, layers=1)
    positions, species = draw_molecule(4, np.float32)
    together = np.broadcast_to(positions[:1], positions.shape)
    two = positions.copy()
    two[1] = two[0]
    cases = [(two, 4), (together, 4), (0 * positions, 2), (positions, 1), (positions, 0)]
    cases += [(1e4 * positions, 4), (1e-9 * positions, 4)]
    masks = np.stack([np.arange(4) < count for _, count in cases])

    def all_derivatives(positions, mask):
        slope = jax.grad(lambda x: jnp.sum(jnp.sin(network(x, species, complete(mask)))))
        along = jnp.cos(jnp.arange(12, dtype=positions.dtype)).reshape(4, 3)
        value = network(positions, species, complete(mask))
        return value, *jax.jvp(slope, (positions,), (along,))

    every = jit(jax.vmap(all_derivatives))(np.stack([cloud for cloud, _ in cases]), masks)
    chex.assert_tree_all_finite(every)
    chex.assert_type(every, np.float32)
    # The control: a distance by itself has no derivative there.
    assert np.any(np.isnan(jit(jax.grad(lambda x: jnp.linalg.norm(x[0] - x[1])))(two)))


@pytest.mark.parametrize("name", EVERY)
def test_the_output_has_the_precision_of_the_positions(name):
    """Parameters stay in float32: positions in float64 make the rest of the arithmetic so."""
    network = draw_backbone(name, np.float32)
    positions, species = draw_molecule()
    for dtype, rule in [(np.float32, np.float32), (np.float64, np.float64)]:
        with promotion(rule):
            args = positions.astype(dtype), species, complete(FOUR)
            result = jax.eval_shape(output_and_gradient, network, *args)
        chex.assert_type(result, dtype)


@NEEDS_E3X
def test_the_network_of_e3x_is_invariant_and_its_gradient_turns_along(keys):
    positions, species = draw_molecule()
    graph = complete(FOUR)
    g = sf.euclidean(3).draw(next(keys), np.float64)
    moves = [g, g._replace(linear=-g.linear)]

    def errors(name):
        network = draw_backbone(name, np.float64)
        reference, slope = output_and_gradient(network, positions, species, graph)
        for g in moves:
            moved = sf.points.push(g, jnp.asarray(positions))
            values, slopes = output_and_gradient(network, moved, species, graph)
            yield relative(values, reference)
            yield relative(slopes, sf.vectors.push(g, slope))

    assert max(errors("e3x")) < FEW * EPS
    assert min(errors("message_passing")) > 1e-3


@functools.cache
def moved_molecule():
    """A molecule, the same after a motion, their species and mask, and a frame of both."""
    positions, species = draw_molecule(5)
    mask = jnp.asarray(np.arange(5) < 4)
    g = sf.euclidean(3).draw(jax.random.key(0), np.float64)
    both = jnp.stack([positions, sf.points.push(g, jnp.asarray(positions))])
    return both, species, mask, jit(jax.vmap(lambda x: sf.pca_frame(x, mask)))(both)


@pytest.mark.parametrize("name", OWN)
def test_frames_make_them_invariant_and_nothing_else_does(name):
    network = draw_backbone(name, np.float32, layers=1)
    both, species, mask, frames = moved_molecule()

    def energy(positions):
        values = network(positions, species, complete(mask))
        return jnp.sum(jnp.where(mask[:, None], values, 0))

    @jit
    @jax.vmap
    def run(positions, frame):
        actions = {"in_actions": sf.points, "out_actions": None}
        average = sf.frame_average(energy, lambda _: frame, **actions)
        return jnp.stack([energy(positions), average(positions)])

    with promotion(np.float64):
        before, after = np.asarray(run(both, frames))
    bare, averaged = np.abs(after - before) / np.abs(before)
    assert bare > 1e-3
    # Axes are as exact as the gaps between their eigenvalues allow, a tenth of the largest.
    assert averaged < 10 * FEW * EPS


def test_a_transformer_has_as_many_features_for_every_head():
    with pytest.raises(ValueError, match="hidden .*4 heads, got 6"):
        draw_backbone("transformer", hidden=6)
