"""The benchmark of speed: its machinery, and what can be counted exactly."""

import json
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.benchmarks import speed
from experiments.benchmarks.figures.speed import growth, time_bars
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed import frames, layers, machine, peers, torch_frames
from experiments.benchmarks.speed.counts import counts, operations
from experiments.benchmarks.speed.growth import exponent, powers
from experiments.benchmarks.speed.layerwise import BODIES, Model
from experiments.benchmarks.speed.memory import programs
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.speed.peers import Peer, with_library
from experiments.benchmarks.timing import Spread, spreads, stopwatch
from experiments.errors import ExperimentError, UsageError

_PEER = """\
import sys
print('{"names": ["a name"]}', flush=True)
for line in sys.stdin:
    name, count = line.rsplit(maxsplit=1)
    print(0.25 * int(count) if name == "a name" else "failed", flush=True)
"""


@pytest.fixture
def set_machine(monkeypatch, tmp_path):
    """Makes a machine of the given load, whose others use the given cores."""

    def make(load: float, others: float):
        stat = tmp_path / "stat"
        monkeypatch.setattr(machine, "_STAT", stat)
        monkeypatch.setattr(machine.os, "getloadavg", lambda: (load * machine.os.cpu_count(), 0, 0))
        now = [0.0]
        monkeypatch.setattr(machine.time, "monotonic", lambda: now[0])

        def sleep(seconds: float) -> None:
            now[0] += seconds
            worked = round(1000 * (1 + others * seconds))
            stat.write_text(f"cpu  {worked} 0 0 5 7 0 0 0 0 0\ncpu0 0\n")

        monkeypatch.setattr(machine.time, "sleep", sleep)
        monkeypatch.setattr(machine.os, "sysconf", lambda name: 1000)
        stat.write_text("cpu  1000 0 0 9 9 0 0 0 0 0\ncpu0 0\n")

    return make


def test_a_machine_that_does_other_work_is_refused(set_machine):
    set_machine(load=0.1, others=0.05)
    found = machine.refuse_load(allowed=False)
    assert found["load"] == pytest.approx(0.1) and found["others"] == pytest.approx(0.05, abs=0.04)
    for load, others in ((0.1, 1.5), (0.8, 0.0)):
        set_machine(load, others)
        with pytest.raises(UsageError, match="--loaded measures all the same"):
            machine.refuse_load(allowed=False)
        set_machine(load, others)
        assert machine.refuse_load(allowed=True)["load"] == pytest.approx(load)


def test_parts_are_printed_and_written_with_their_numbers_and_pictures(
    monkeypatch, capsys, tmp_path
):
    def measure(name, options):
        assert options.repeats == 3 and options.clouds == 1024, "quick sizes"

        def draw(folder: Path):
            path = folder / f"{name}.png"
            path.touch()
            return [path]

        return Part("Caption.", [Table(["x"], [[name]])], {"ms": 1.5, "none": math.nan}, draw)

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(machine, "_WAIT", 0.0)
    speed.main(["memory", "growth", "--loaded", "--quick", "--repeats=3", f"--out={tmp_path}"])
    out = capsys.readouterr().out
    assert "memory: temporaries" in out and str(tmp_path / "growth.png") in out
    stored = json.loads((tmp_path / "speed.json").read_text())
    assert list(stored["results"]) == ["memory", "growth"]
    assert stored["results"]["memory"]["ms"] == 1.5 and "cores_of_others" in str(stored)
    assert "| growth |" in (tmp_path / "speed.md").read_text()
    with pytest.raises(SystemExit):
        speed.main(["no_such_part"])
    assert "must be one of frames, " in capsys.readouterr().err


def test_every_part_has_a_function_and_one_line():
    for name in speed.PARTS:
        path = Path(speed.__file__).parent / (
            "compilation.py" if name == "compile" else f"{name}.py"
        )
        assert "\ndef measure(options" in path.read_text("utf-8")


def test_times_have_their_quartiles_and_are_sampled_in_turn():
    order = []

    def watch(name, seconds):
        def sample(count):
            order.append(name)
            return next(seconds)

        return sample

    samples = {"a": [9, 9, 1, 5, 2, 4, 3], "b": [1] * 7}
    times = spreads({name: watch(name, iter(values)) for name, values in samples.items()}, 5)
    assert times["a"] == Spread(3000, 2000, 4000) and times["b"].median == 1000
    assert "".join(order) == "aabb" + 5 * "ab"
    assert 0 < stopwatch(lambda: jnp.zeros(()), "cpu")(3) < 10


def test_a_peer_is_timed_in_a_process_of_its_own(tmp_path):
    program = tmp_path / "peer.py"
    program.write_text(_PEER)
    with Peer(sys.executable, program, []) as peer:
        assert peer.names == ["a name"] and peer.seconds("a name", 2) == 0.5
        with pytest.raises(ExperimentError, match="the peer has failed in another"):
            peer.seconds("another", 1)
    program.write_text("print('no JSON')")
    with pytest.raises(ExperimentError, match="did not begin as a peer"):
        Peer(sys.executable, program, [])
    with pytest.raises(ExperimentError, match="cannot be run: No such file"):
        Peer(str(tmp_path / "no_python"), program, [])


def test_a_peer_that_is_not_installed_says_so(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    program = tmp_path / "torch_frames.py"
    program.write_text(Path(torch_frames.__file__).read_text("utf-8"))
    arguments = ["--threads=1", "--shape", "2", "5", "3"]
    with Peer(sys.executable, program, arguments) as peer:
        assert peer.names == [] and peer.about == {"missing": "torch"}


@pytest.fixture
def make_library(monkeypatch, tmp_path):
    """Writes a package of one file that can be imported."""

    def make(name: str, source: str):
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(source)

    return make


def test_a_library_in_this_process_is_there_or_the_reason_is_one_line(make_library):
    make_library("a_peer", "wrapped = 5\n")
    make_library("user_of_a_peer", "from a_peer import wrapped\n")
    assert with_library("user_of_a_peer", "a_peer").wrapped == 5
    assert with_library("user_of_a_peer", "no_such_peer") == peers.MISSING
    make_library("old_peer", "raise AttributeError('jax has no x\\nand no y')\n")
    found = with_library("user_of_a_peer", "old_peer")
    assert found == "cannot be imported: AttributeError: jax has no x"
    # It is installed, and what it needs is not.
    make_library("poor_peer", "import no_such_package\n")
    assert "No module named 'no_such_package'" in with_library("user_of_a_peer", "poor_peer")
    make_library("broken_user", "raise ValueError('ours')\n")
    with pytest.raises(ValueError, match="ours"):
        with_library("broken_user", "a_peer")


@pytest.mark.parametrize("reason", [peers.MISSING, "cannot be imported: TypeError: new JAX"])
def test_layers_are_compared_with_the_peers_that_there_are(monkeypatch, reason):
    """A peer without dispatches of several steps is compared by its step."""
    monkeypatch.setattr(layers, "with_library", lambda *names: reason)
    monkeypatch.setattr(layers, "layerwise_model", lambda: Model(len, jnp.zeros(7)))
    kinds = ("forward", "step", "steps")
    monkeypatch.setattr(layers, "training_calls", lambda *args, **options: dict.fromkeys(kinds))
    monkeypatch.setattr(layers, "Peer", lambda *args: _TwoCalls())
    monkeypatch.setattr(layers, "stopwatch", lambda call, clock: lambda count: 0.02)
    part = layers.measure(speed.parser().parse_args(["--repeats=1", "--threads=1"]))
    torch, first, second = part.tables
    rows = {row[0]: list(row[1:]) for row in torch.rows}
    assert rows["forward"][-1] == "2.00 x" and rows["step, 10 in a dispatch"][-1] == "30.00 x"
    assert len(rows) == 3 and "ours 7." in part.caption
    for table in (first, second):
        assert [row[3:] for row in table.rows] == 3 * [[reason, "", ""]]


class _TwoCalls:
    names = ("forward", "step")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    def seconds(self, name, count):
        return {"forward": 0.04, "step": 0.06}[name]


def test_the_network_of_e3nn_is_equivariant_and_as_wide_as_ours():
    pytest.importorskip("e3nn_jax", reason="needs the package e3nn-jax")
    from experiments.benchmarks.speed.e3nn_bodies import FEATURES, e3nn_model

    for degree, count in FEATURES.items():
        assert 60 <= count * (degree + 1) ** 2 < 65
    model = e3nn_model(1, layers=1)
    draw = np.random.default_rng(0).normal(size=(3, 2, BODIES, 3)).astype(np.float32)
    position, velocity, charge = draw[0], draw[1], np.sign(draw[2, ..., 0])
    predict = jax.jit(model.predict)

    def error(turn):
        turned = predict(model.params, position @ turn + 1, velocity @ turn, charge)
        return np.abs(turned - predict(model.params, position, velocity, charge) @ turn - 1).max()

    turn = np.linalg.qr(draw[2, 0, :3])[0]
    assert error(turn) < 1e-4 and error(-turn) < 1e-4
    assert error(np.diag(np.float32([1, 1, 2]))) > 1e-2, "a stretch is no symmetry"
    # Another system in the batch changes nothing, and other charges do.
    changes = []
    for system in (1, 0):
        others = np.array(charge)
        others[system] *= np.sign(np.arange(BODIES) - 1.5)
        both = [predict(model.params, position, velocity, signs) for signs in (charge, others)]
        changes.append(np.abs(both[0] - both[1])[0].max())
    assert changes[0] < 1e-6 and changes[1] > 1e-3


def test_what_is_timed_side_by_side_is_the_same_clouds():
    """Up to the order of the axes and of the signs: the sums of powers over elements and points."""
    clouds = np.random.default_rng(0).normal(size=(4, 5, 3))

    def invariants(projected):
        return np.sort(np.sum(np.abs(projected) ** 3, axis=(-3, -2)), axis=-1)

    numpy = frames.in_numpy(clouds)
    both = [frames.projection(frame) for frame in (sf.pca_frame, frames.plain_frame)]
    found = jax.jit(jax.vmap(lambda cloud: [each(cloud)[0] for each in both]))(jnp.asarray(clouds))
    for projected in found:
        assert projected.shape == numpy.shape == (4, 8, 5, 3)
        np.testing.assert_allclose(invariants(projected), invariants(numpy), rtol=1e-10)
    assert not np.allclose(invariants(numpy), invariants(np.stack(8 * [clouds], axis=1)))


def test_an_exponent_is_the_slope_of_the_largest_sizes():
    sizes = powers(2, 64, 2)
    assert sizes == [2, 4, 8, 16, 32, 64] and powers(10, 300) == [10, 30, 100, 300]
    assert powers(100, 50) == [100]
    values = [9.0, 9.0, *(0.5 * size**1.5 for size in sizes[2:])]
    assert exponent(sizes, values) == pytest.approx(1.5)
    assert math.isnan(exponent(sizes, [0.0] * 5 + [1.0]))


def test_an_average_costs_as_many_operations_as_its_elements_and_no_more():
    functions, args = programs(points=64, width=32)
    alone, whole = (operations(functions[name], *args) for name in ("backbone", "average"))
    assert 8 <= whole / alone < 8.1
    # The control: a loop is counted once, so that it has the operations of one element.
    loop = operations(functions["average, one element at a time"], *args)
    assert 1 <= loop / alone < 1.1


def test_a_pca_frame_needs_memory_in_proportion_to_its_points():
    def share(function, points):
        """Temporaries for each byte of the cloud."""
        cloud = jax.ShapeDtypeStruct((points, 3), jnp.float32)
        return counts(function, cloud).temporaries / (12 * points)

    assert share(sf.pca_frame, 8000) < 4
    assert share(lambda cloud: jax.nn.softmax(cloud @ cloud.T) @ cloud, 800) > 200


def test_growth_and_times_are_drawn(tmp_path):
    curves = {"ms against points": {"a frame": ([1, 10, 100], [1.0, 2.0, 4.0], 0.3)}}
    growth(tmp_path / "growth.png", curves, columns=1)
    time_bars(tmp_path / "bars.png", {"a frame": Spread(2.0, 1.0, 3.0)})
    assert min((tmp_path / name).stat().st_size for name in ("growth.png", "bars.png")) > 5000
    with pytest.raises(ValueError, match="values of a frame must have shape"):
        growth(tmp_path / "x.png", {"ms against points": {"a frame": ([1, 10], [1.0], 0.3)}})
    with pytest.raises(ValueError, match="at least one name"):
        time_bars(tmp_path / "x.png", {})
