"""Inputs whose robust frame has no room for its elements are refused, with what has room."""

import re

import numpy as np
import pytest

from experiments import frame_room
from experiments.errors import UsageError
from experiments.frame_room import refuse_overflows
from experiments.tasks.nbody.config import NBodyModelConfig

SQUARE = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], np.float32)
GENERIC = SQUARE * np.array([[3], [2], [1], [0.5]], np.float32)
# Two programs' worth of examples, of which the last one has no room.
POINTS = np.stack([*[GENERIC] * 70, SQUARE])


def refused(points, **model) -> str:
    config = NBodyModelConfig(frame="robust", **model)
    with pytest.raises(UsageError) as caught:
        refuse_overflows(config, lambda index: f"system {index}", points)
    return str(caught.value)


def test_the_input_and_the_setting_are_named_and_what_has_room(monkeypatch):
    tight = {"max_elements": 4, "capacity": (12, 12)}
    text = refused(POINTS, **tight)
    assert text.startswith("model.max_elements: ")
    assert "got 4 with model.capacity=[12, 12], without room for 75 % " in text
    assert " of the weight of system 70, " in text
    advice = re.search(r"model\.max_elements=(\d+) and model\.capacity=\[12, 12\] have", text)
    assert advice is not None
    # A quarter of it is kept by 4.
    assert int(advice[1]) == 16
    # Neither what drops nothing, nor what is rounding, nor another frame.
    config = NBodyModelConfig(frame="robust", **tight)
    refuse_overflows(config, str, POINTS[:-1])
    refuse_overflows(NBodyModelConfig(frame="pca"), str, POINTS)
    monkeypatch.setattr(frame_room, "MOST_DROPPED", 0.8)
    refuse_overflows(config, str, POINTS)


def test_a_hopeless_input_is_told_what_else_there_is(monkeypatch):
    monkeypatch.setattr(frame_room, "MOST_ELEMENTS", 8)
    text = refused(POINTS, max_elements=4)
    assert "needs more than 8 elements" in text and "model.frame=pca" in text
