import pytest

from experiments.tasks.registry import TASKS
from tests.helpers import toy_task


@pytest.fixture(scope="module")
def with_toy():
    """Names the toy in the registry of tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, toy_task.NAME, toy_task.PACKAGE)
        yield
