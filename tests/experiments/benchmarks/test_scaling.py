"""The arithmetic of expected scaling, and the tables that are made of it."""

import json
import math

import pytest

from experiments.benchmarks import scaling
from experiments.benchmarks.scaling import MACHINES, Machine, Work, reduction, strong, weak

WORK = Work(flops=1e9, parameters=10**6, batch=64)
PERFECT = Machine(peak=1e14, utilisation=0.5, node=8, fast=math.inf, slow=math.inf, hop=0.0)
COUNTS = (2, 8, 64)


def test_one_device_waits_for_nobody():
    for machine in MACHINES.values():
        assert reduction(machine, 1e9, 1) == 0
        assert weak(machine, WORK, 1) == strong(machine, WORK, 1) == 1


def test_without_latency_and_with_all_bandwidth_scaling_is_perfect():
    for count in COUNTS:
        assert weak(PERFECT, WORK, count) == 1
        assert strong(PERFECT, WORK, count) == pytest.approx(count)
    # One example is the least that a device has.
    assert strong(PERFECT, WORK, 1024) == pytest.approx(64)
    # Neither holds with real links.
    slow = PERFECT._replace(slow=1e9, fast=1e9)
    assert weak(slow, WORK, 8) < 0.9 and strong(slow, WORK, 8) < 7


def test_a_reduction_takes_what_its_formula_says():
    machine = PERFECT._replace(fast=100e9, slow=10e9, hop=1e-6)
    # 7/8 of a gigabyte twice, and up and down a tree of three levels.
    assert reduction(machine, 1e9, 8) == pytest.approx(2 * 7 / 8 / 100 + 6e-6)
    # Beyond a node by its slow links.
    assert reduction(machine, 1e9, 16) == pytest.approx(2 * 15 / 16 / 10 + 8e-6)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=list(MACHINES))
def test_efficiency_falls_with_the_number_of_devices(machine):
    counts = (1, *COUNTS, 1024)
    weaks = [weak(machine, WORK, count) for count in counts]
    strongs = [strong(machine, WORK, count) / count for count in counts]
    for found in (weaks, strongs):
        assert found == sorted(found, reverse=True) and 0 < found[-1] < found[0] == 1
    # A batch of its own leaves each more to do between two messages.
    assert all(one > other for one, other in zip(weaks[1:], strongs[1:], strict=True))


def test_counted_steps_make_the_tables(monkeypatch, tmp_path, capsys):
    works = {"linear": lambda folder: scaling._counted("nbody_linear", _of_bodies(folder))}
    monkeypatch.setattr(scaling, "WORKS", works)
    scaling.main(["--devices", "8", "--out", str(tmp_path)])
    assert "weak, 8" in capsys.readouterr().out
    work = json.loads((tmp_path / "scaling.json").read_text("utf-8"))["works"]["linear"]
    # One number is learnt. A product, a sum, and their derivatives, of 15 coordinates at least.
    assert work["parameters"] == 1 and 4 * 15 <= work["flops"] < 5000


def _of_bodies(folder):
    data = scaling.steps.CASES["nbody"](folder / "nbody.npz", 100)
    return [*scaling._SHORT, *data]
