from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from symjax_frames import nn


@contextmanager
def two_convolutions() -> Iterator[None]:
    """Networks of two convolutions: to compile the other four takes most of the time."""
    whole = nn.GroupCNN

    def two(group, in_features, stages, **options):
        return whole(group, in_features, [stage[:1] for stage in stages[:2]], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn, "GroupCNN", two)
        yield


@pytest.fixture
def shallow():
    with two_convolutions():
        yield


@pytest.fixture(scope="module")
def shallow_throughout(optimized):
    # Without most optimisations, XLA computes other slopes of some kernels on CPUs, and even NaN.
    with two_convolutions():
        yield
