import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import draw_motions

CUTOFF = 5.0
OPTIONS = {"max_neighbours": 11, "max_elements": 24}
NAMES = ["generic", "planar", "water", "carbon dioxide", "asymmetric line"]
NAMES += ["methane", "ammonia", "square", "octahedron", "one point", "twins", "all points equal"]


def clouds():
    generic = np.random.default_rng(1).normal(size=(5, 3))
    return {
        **hard_clouds(),
        "generic": generic,
        "planar": generic * np.array([1.0, 1.0, 0.0]),
        "twins": np.concatenate([generic, generic[:1]]),
    }


def graph(names, dtype="float64"):
    """Clouds side by side, with edges between all nodes of one cloud, each to itself included."""
    every = [clouds()[name] for name in names]
    home = np.repeat(np.arange(len(every)), [len(each) for each in every])
    receivers, senders = np.nonzero(home[:, None] == home[None, :])
    points = jnp.asarray(np.concatenate(every), dtype)
    return points, jnp.asarray(senders), jnp.asarray(receivers), home


def weights(dtype, dim=3):
    rng = np.random.default_rng(0)
    shapes = (dim, 8), (8, 1 + dim)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def damping(arms, cutoff):
    return jnp.maximum(1 - jnp.sum((arms / cutoff) ** 2, axis=1, keepdims=True), 0) ** 3


def backbone(vectors, receivers, count, mask=None, cutoff=CUTOFF):
    """A number and a vector for each node: neither odd nor even, and of damped messages."""
    first, second = weights(vectors.dtype, vectors.shape[1])
    messages = damping(vectors, cutoff) * jnp.sin(vectors * (CUTOFF / cutoff) @ first + 0.5)
    messages = messages if mask is None else jnp.where(mask[:, None], messages, 0)
    pooled = jax.ops.segment_sum(messages, receivers, count)
    out = jnp.tanh(0.5 * pooled @ second + 0.3)
    return {"energy": out[:, 0], "force": out[:, 1:]}


def frame_of(points, senders, receivers, cutoff=CUTOFF, mask=None, **options):
    vectors = points[senders] - points[receivers]
    return sf.local_frames(vectors, receivers, len(points), cutoff, mask, **options)


def average_over(frame, points, senders, receivers, mask=None, cutoff=CUTOFF):
    nodes = jnp.arange(len(points))
    local = sf.frame_average(
        lambda vectors: backbone(vectors, receivers, len(points), mask, cutoff),
        lambda vectors: frame,
        in_actions=sf.packed(sf.vectors, receivers),
        out_actions={"energy": sf.packed(None, nodes), "force": sf.packed(sf.vectors, nodes)},
    )
    return local(points[senders] - points[receivers])


def local_average(points, senders, receivers, mask=None, cutoff=CUTOFF, **options):
    options = {**OPTIONS, **options}
    frame = frame_of(points, senders, receivers, cutoff, mask, **options)
    return average_over(frame, points, senders, receivers, mask, cutoff)


def pca_average(points, senders, receivers, group="E"):
    """The control: principal axes of the neighbours."""
    arms = points[senders] - points[receivers]
    kind = "O" if group == "E" else "SO"
    frame = sf.packed_pca_frame(arms, receivers, len(points), group=kind)
    return average_over(frame, points, senders, receivers)


def bare_average(points, senders, receivers):
    """The control that averages nothing: every node sees its neighbours as they are."""
    linear = jnp.broadcast_to(jnp.eye(3, dtype=points.dtype), (1, len(points), 3, 3))
    still = jnp.zeros_like(points)[None]
    frame = sf.Frame(sf.Isometry(linear, still), jnp.ones((1, len(points)), points.dtype))
    return average_over(frame, points, senders, receivers)


def changes(average, g, points, senders, receivers):
    """How much the outputs of each node differ after a motion and permutations of nodes and edges.

    Second how much the energies differ in the mirror. All in one batch, compiled once.
    """
    rng = np.random.default_rng(2)
    order, edges = rng.permutation(len(points)), rng.permutation(len(senders))
    place = jnp.asarray(np.argsort(order))
    graphs = [
        (points, senders, receivers),
        (sf.points.push(g, points)[order], place[senders][edges], place[receivers][edges]),
        (-points, senders, receivers),
    ]
    out = jax.vmap(average)(*map(jnp.stack, zip(*graphs, strict=True)))
    energy, force = out["energy"], out["force"]
    turned = jnp.abs(force[0] - sf.vectors.pull(g, force[1][place]))
    change = jnp.maximum(jnp.abs(energy[0] - energy[1][place]), jnp.max(turned, axis=1))
    return change, jnp.abs(energy[0] - energy[2])


@pytest.mark.parametrize(("group", "dtype"), [("E", "float64"), ("SE", "float32")])
def test_local_average_is_equivariant_in_every_neighbourhood(group, dtype):
    points, senders, receivers, home = graph(NAMES, dtype)
    g = motion(group, 3, dtype)

    @jax.jit
    def run(points, g):
        bind = functools.partial
        averages = [bind(local_average, group=group)]
        if group == "E":
            averages += [bind(pca_average, group=group), bare_average]
        return [changes(average, g, points, senders, receivers) for average in averages]

    (ours, mirror), *controls = jax.device_get(run(points, g))
    # Rounding, times slopes of the weights of 2 / (1 - threshold), twice, and sums of messages.
    bound = 3e3 * np.finfo(dtype).eps
    for place, name in enumerate(NAMES):
        assert np.max(ours[home == place]) < bound, name
    if controls:
        (pca, _), (bare, _) = controls
        assert np.max(bare[home == NAMES.index("generic")]) > 1e-2
        for name in ("methane", "octahedron"):
            assert np.max(pca[home == NAMES.index(name)]) > 1e-3, name
    mirror = np.max(mirror[home == NAMES.index("generic")])
    assert mirror > 1e-3 if group == "SE" else mirror < bound


def motion(group, dim, dtype=float):
    """An isometry, improper if the group has such."""
    return sf.Isometry(*(jnp.asarray(leaf[1], dtype) for leaf in draw_motions(group, dim, 2)))


def pentagon():
    """A node at the centre of five others, with edges between all."""
    angles = 2 * np.pi * np.arange(5) / 5
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    receivers, senders = np.nonzero(~np.eye(6, dtype=bool))
    points = np.concatenate([np.zeros((1, 2)), corners])
    return jnp.asarray(points), jnp.asarray(senders), jnp.asarray(receivers)


def test_plane_has_local_frames_too():
    points, senders, receivers = pentagon()
    g = motion("E", 2)

    @jax.jit
    def run(points):
        # The edges are those of a batch, and traced: there are as many slots as edges.
        ours = functools.partial(local_average, max_neighbours=None)
        return [changes(fn, g, points, senders, receivers)[0] for fn in (ours, pca_average)]

    ours, pca = jax.device_get(run(points))
    assert np.max(ours) < 3e3 * np.finfo(float).eps
    assert pca[0] > 1e-3


def hard_cut(points, senders, receivers):
    """The control: the frame of the neighbours within the cutoff, all counting the same."""
    arms = points[senders] - points[receivers]
    near = (jnp.sum(arms * arms, axis=1) < CUTOFF**2) & (receivers == 0)
    frame = sf.robust_frame(arms, near & (senders > 0), group="O", max_elements=24)
    frame = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], len(points), axis=1), frame)
    return average_over(frame, points, senders, receivers)


PATHS = {
    "enters": (np.array([[1.0, 0.5, 0], [0.4, -1.2, 0.7]]), (1.02, 0.85)),
    "makes a line a plane": (np.array([[1.5, 0.0, 0]]), (1.02, 0.85)),
    "leaves nobody": (np.zeros((0, 3)), (1.02, 0.85)),
    "passes the node": (np.zeros((0, 3)), (0.02, -0.02)),
}


@pytest.fixture(scope="module")
def paths():
    """The node at the origin while a neighbour moves: its outputs, ours and with a hard cut."""
    found = {}
    for name, (others, (start, stop)) in PATHS.items():
        # Three nodes in all, so that every path is compiled only once; spare ones are far away.
        spare = np.full((2 - len(others), 3), 1e3) * np.arange(1, 3 - len(others))[:, None]
        ends = [CUTOFF * each * np.array([0.36, 0.48, 0.8]) for each in (start, stop)]
        along = np.linspace(*ends, 400)[:, None]
        fixed = np.concatenate([np.zeros((1, 3)), others, spare])
        found[name] = np.concatenate([np.tile(fixed, (400, 1, 1)), along], axis=1)
    senders, receivers = jnp.asarray([1, 2, 3]), jnp.asarray([0, 0, 0])

    @jax.jit
    def run(points):
        batch = {"ours": functools.partial(local_average, max_neighbours=3), "cut": hard_cut}
        return {
            name: jax.lax.map(
                lambda x, one=one: jax.tree.map(lambda leaf: leaf[0], one(x, senders, receivers)),
                points,
                batch_size=400,
            )
            for name, one in batch.items()
        }

    values = jax.device_get(run(jnp.asarray(np.concatenate(list(found.values())))))
    return jax.tree.map(
        lambda leaf: dict(zip(PATHS, np.split(leaf, len(PATHS)), strict=True)), values
    )


def largest_step(values):
    return np.max(np.abs(np.diff(values, axis=0)))


@pytest.mark.parametrize("path", PATHS)
def test_nothing_jumps_when_a_neighbour_moves_in_or_out(paths, path):
    for output in ("energy", "force"):
        ours = paths["ours"][output][path]
        # A fourth of the way is a fourth of the change, but for curvature; of a jump it is all.
        assert largest_step(ours) < 0.35 * largest_step(ours[::4])
        cut = paths["cut"][output][path]
        if output == "force":
            assert largest_step(cut) > 0.7 * largest_step(cut[::4])


def six(name):
    """A graph of six nodes and 36 edges: points, senders, receivers, mask."""
    generic = np.random.default_rng(3).normal(size=(6, 3))
    steps = np.eye(3)[[0, 1, 2, 0, 1, 2]] * np.linspace(0.96, 0.98, 6)[:, None]
    points = {
        "octahedron": clouds()["octahedron"],
        "plane": generic * np.array([1.0, 1, 0]),
        "line": generic[:, :1] * np.array([[1.0, 2, -1]]),
        "at the cutoff": CUTOFF * np.cumsum(steps, axis=0),
        "no neighbours": 1e3 * generic,
        "all points equal": np.full((6, 3), 0.3),
        "moved": generic + 7 * np.eye(6)[:, 5:],
    }.get(name, generic)
    receivers, senders = np.indices((6, 6)).reshape(2, 36)
    mask = np.ones(36, bool)
    if name in ("padded", "moved"):
        mask = (receivers < 5) & (senders < 5)
    elif name == "only padding":
        mask = ~mask
    return points, senders, receivers, mask


SIX = ["generic", "octahedron", "plane", "at the cutoff", "line", "all points equal"]
SIX += ["no neighbours", "only padding", "padded", "moved"]


def stack(names):
    return list(map(jnp.asarray, map(np.stack, zip(*map(six, names), strict=True))))


def energy(points, senders, receivers, mask, cutoff=CUTOFF, **options):
    options = {"max_neighbours": 5, "max_elements": 48, **options}
    return jnp.sum(local_average(points, senders, receivers, mask, cutoff, **options)["energy"])


def test_gradients_equal_central_differences():
    points, *rest = map(np.asarray, stack(SIX))
    along = np.random.default_rng(4).normal(size=points.shape)

    @jax.jit
    @jax.vmap
    def derivatives(points, along, *rest):
        both = jax.value_and_grad(lambda x: energy(x, *rest))
        (value, gradient), (slope, bend) = jax.jvp(both, (points,), (along,))
        return {"energy": value, "gradient": gradient, "slope": slope, "bend": bend}

    step = 1e-5
    around = np.concatenate([points, points + step * along, points - step * along])
    found = derivatives(around, *(np.concatenate([each] * 3) for each in (along, *rest)))
    found = {name: np.split(each, 3) for name, each in jax.device_get(found).items()}
    energies, gradients = (
        (found[name][1] - found[name][2]) / (2 * step) for name in ("energy", "gradient")
    )
    for place, name in enumerate(SIX):
        slope, gradient = found["slope"][0][place], found["gradient"][0][place]
        np.testing.assert_allclose(np.sum(gradient * along[place]), slope, atol=1e-11)
        np.testing.assert_allclose(slope, energies[place], rtol=1e-6, atol=1e-9, err_msg=name)
        assert np.all(np.isfinite(found["bend"][0][place])), name
        # A direction has no second derivative where points of a line or of one place leave it.
        if name not in ("line", "all points equal"):
            bent = gradients[place]
            # The third derivative of the weights jumps where points tie.
            bound = 10 * step * np.max(np.abs(bent)) + 1e-9
            np.testing.assert_allclose(found["bend"][0][place], bent, atol=bound, err_msg=name)


def test_detached_frames_are_constant():
    points, senders, receivers, mask = map(jnp.asarray, six("generic"))

    @jax.jit
    def slope(points):
        def total(x):
            frame = frame_of(x, senders, receivers, CUTOFF, mask, detach=True, **OPTIONS)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(frame))

        return jax.grad(total)(points)

    assert not np.any(slope(points))


@pytest.fixture(scope="module")
def single():
    """Energies and gradients in float32 and a unit of 1e-20, by the name of the graph."""
    points, *rest = stack(SIX)
    derivatives = jax.vmap(jax.value_and_grad(functools.partial(energy, cutoff=1e20 * CUTOFF)))
    found = jax.device_get(jax.jit(derivatives)((1e20 * points).astype(jnp.float32), *rest))
    return {name: (found[0][place], found[1][place]) for place, name in enumerate(SIX)}


def test_values_and_gradients_are_finite_in_float32_and_any_unit(single):
    for name, (value, gradient) in single.items():
        assert np.isfinite(value), name
        assert np.all(np.isfinite(gradient)), name
    alone = 6 * np.tanh(np.float32(0.3))
    np.testing.assert_allclose(single["only padding"][0], alone, rtol=1e-6)
    for name in ("no neighbours", "only padding"):
        assert np.all(single[name][1] == 0)
    assert abs(single["at the cutoff"][0] - alone) > 1e-4
    assert np.max(np.abs(1e20 * single["generic"][1])) > 0.1


def test_padding_edges_change_nothing_bit_for_bit(single):
    value, gradient = single["padded"]
    np.testing.assert_array_equal(single["moved"][0], value)
    np.testing.assert_array_equal(single["moved"][1], gradient)
    assert np.all(gradient[5] == 0)
    assert abs(single["generic"][0] - value) > 1e-2


@pytest.mark.fast
def test_transport_is_invariant_and_equals_push_and_pull():
    points, senders, receivers, _ = six("generic")
    senders, receivers, draws = *map(jnp.asarray, (senders, receivers)), np.random.default_rng(0)
    velocities, weight = draws.normal(size=(6, 3)), jnp.asarray(draws.normal(size=(3, 3)))
    motions = draw_motions("E", 3, 2)
    nodes = sf.packed(sf.vectors, jnp.arange(6))
    edges = sf.packed(sf.vectors, receivers)

    def pull(action, frame, x):
        return jax.vmap(action.pull, in_axes=(0, None))(frame.elements, x)

    @jax.jit
    @jax.vmap
    def run(points, velocities):
        frame = frame_of(points, senders, receivers, **OPTIONS)
        own = pull(nodes, frame, velocities)
        hidden = jnp.sin(own @ weight + 0.5)
        moved = sf.frames.transport(hidden, frame, senders, receivers, sf.vectors)

        # Invariant numbers that depend on every entry of what is seen.
        def number(seen):
            messages = jnp.cos(seen @ weight + pull(edges, frame, velocities[receivers]) + 0.3)
            pooled = jax.vmap(lambda each: jax.ops.segment_sum(each, receivers, 6))(messages)
            return jnp.sum(frame.weights * jnp.prod(pooled, axis=2), axis=0)

        return {
            "transported": number(moved),
            # In the first basis of the sender alone, which a reflection turns into another one.
            "gathered": number(hidden[:1, senders]),
            "exact": sf.frames.transport(own, frame, senders, receivers, sf.vectors),
            "direct": pull(edges, frame, velocities[senders]),
            "numbers": sf.frames.transport(own[..., 0], frame, senders, receivers, None),
            "averaged": jnp.sum(frame.weights * own[..., 0], axis=0)[senders],
        }

    found = jax.device_get(
        run(
            np.stack([points, motions.move(points)[1]]),
            np.stack([velocities, motions.move(velocities, shifts=False)[1]]),
        )
    )
    change = {name: np.max(np.abs(found[name][0] - found[name][1])) for name in found}
    # Products of three sums of six messages, and weights of slope 20.
    assert change["transported"] < 1e4 * np.finfo(float).eps
    assert change["gathered"] > 1e-2
    np.testing.assert_allclose(found["exact"], found["direct"], atol=1e-14)
    averaged = np.broadcast_to(found["averaged"][:, None], found["numbers"].shape)
    np.testing.assert_allclose(found["numbers"], averaged, atol=1e-14)


def test_transport_between_single_elements_is_their_relative_one(keys):
    motion = sf.euclidean(3)
    draws, features = jax.random.split(next(keys), 3), jax.random.normal(next(keys), (1, 3, 2, 3))

    @jax.jit
    def run(draws, features):
        turns = jax.vmap(lambda key: motion.draw(key, float))(draws)
        frame = sf.Frame(jax.tree.map(lambda leaf: leaf[None], turns), jnp.ones((1, 3)))
        seen = sf.frames.transport(features, frame, jnp.array([2]), jnp.array([0]), sf.points)
        first, last = (jax.tree.map(lambda leaf, at=at: leaf[at], turns) for at in (0, 2))
        return seen[0, 0], sf.points.push(first.inverse().compose(last), features[0, 2])

    seen, expected = run(draws, features)
    np.testing.assert_allclose(seen, expected, atol=1e-13)
    assert np.max(np.abs(expected - features[0, 2])) > 0.1


def test_diagnostics_tell_what_does_not_fit():
    points, *ends, home = map(np.asarray, graph(["octahedron", "generic", "one point"]))
    vectors, receivers = points[ends[0]] - points[ends[1]], jnp.asarray(ends[1])
    diagnose = functools.partial(
        sf.frames.local_diagnostics, jnp.asarray(vectors), receivers, len(points), CUTOFF
    )

    @jax.jit
    def run():
        return diagnose(max_neighbours=5), diagnose(max_neighbours=3, max_elements=2)

    enough, tight = jax.device_get(run())
    assert (
        enough.num_neighbours.tolist() == tight.num_neighbours.tolist() == [5] * 6 + [4] * 5 + [0]
    )
    assert np.all(enough.dropped == 0)
    assert np.all(tight.dropped[home == 0] > 0.1)


def test_all_neighbours_are_seen_by_default():
    points, senders, receivers = pentagon()
    mask = (senders < 5) & (receivers < 5)

    @jax.jit
    def run(points):
        # A masked edge and those from a node to itself take no slot.
        every = jnp.append(senders, 0), jnp.append(receivers, 0), CUTOFF, jnp.append(mask, True)
        options = {"max_elements": 8, "capacity": (4,)}
        return [
            frame_of(points, *every, max_neighbours=number, **options).weights
            for number in (None, 2)
        ]

    found, few = run(points)
    # Four neighbours at one distance, and a mirror image of each basis.
    np.testing.assert_allclose(found[:, 0], np.full(8, 1 / 8), atol=1e-14)
    assert np.max(np.abs(few[:, 0] - 1 / 8)) > 0.1


def largest_array(fn, *args):
    """The number of entries of the largest array in the program of a function."""
    shapes = re.findall(r"f\d+\[([\d,]+)\]", str(jax.make_jaxpr(fn)(*args)))
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def ring(nodes):
    """Nodes that see the next one and the last, and edges that are none: to itself, or masked."""
    every = np.arange(nodes)
    senders = np.concatenate([np.roll(every, 1), np.roll(every, -1), every, 0 * every])
    edges = senders, np.tile(every, 4), np.arange(4 * nodes) < 3 * nodes
    return jnp.asarray(np.stack([every, every**2], axis=1), float), *map(jnp.asarray, edges)


def ring_frame(points, senders, receivers, mask, **options):
    options = {"max_elements": 2, "capacity": (2,), **options}
    return frame_of(points, senders, receivers, CUTOFF, mask, **options)


def test_default_memory_is_in_proportion_to_the_edges():
    def known(nodes):
        points, *edges = ring(nodes)
        return largest_array(lambda points: ring_frame(points, *edges), points)

    few = known(100)
    assert known(400) == 4 * few
    # Where edges are traced, there are as many slots as edges.
    assert largest_array(ring_frame, *ring(100)) >= 50 * few


def test_local_frames_ask_before_they_take_much_memory(unhooked):
    message = r"max_neighbours must be given, .* 2000 x 8000 = 16000000 entries.*local_diagnostics"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(ring_frame, *ring(2000))
    # So is a node that sees all others, even where that is known.
    points, senders, receivers, mask = ring(4000)
    with pytest.raises(ValueError, match=r"as its default of 1199\d "):
        ring_frame(points, senders, 0 * receivers, mask)
    frame = functools.partial(ring_frame, max_neighbours=2)
    assert jax.eval_shape(frame, *ring(2000)).weights.shape == (2, 2000)


def test_wrong_arguments_are_refused(unhooked):
    points, senders, receivers, mask = map(jnp.asarray, six("generic"))
    vectors = points[senders] - points[receivers]
    refused = {
        "cutoff must be a positive finite number, got 0": {"cutoff": 0},
        "cutoff must be a positive finite number, got True": {"cutoff": True},
        "group must be one of E, SE, got 'O'": {"group": "O"},
        "max_neighbours must be a positive integer, got 0": {"max_neighbours": 0},
        "num_nodes must be a positive integer, got shape": {"num_nodes": senders},
        "receivers must be a vector of integers": {"receivers": vectors},
        "vectors and receivers must have one entry for each edge": {"receivers": receivers[:3]},
        r"mask must be boolean of shape \(36,\)": {"mask": mask[:3]},
        r"capacity must be 2 integer": {"capacity": (3,)},
        "threshold must be a number above 0": {"threshold": 1.0},
        "vectors must be those of the edges": {"vectors": vectors[None]},
        r"2 or 3 dimensions, one a row, got shape \(36, 1\)": {"vectors": vectors[:, :1]},
        "vectors must be of a floating dtype, got int": {"vectors": vectors.astype(int)},
    }
    usual = {"vectors": vectors, "receivers": receivers, "num_nodes": 6, "cutoff": CUTOFF}
    for message, wrong in refused.items():
        with pytest.raises(ValueError, match=message):
            sf.local_frames(**{**usual, **wrong})
    frame = sf.Frame(sf.Isometry.identity(3), jnp.ones(8))
    with pytest.raises(ValueError, match="features must start with the axes"):
        sf.frames.transport(jnp.ones((8, 6, 3)), frame, senders, receivers, sf.vectors)
