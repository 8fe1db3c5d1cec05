import resource

import pytest

from experiments import memory
from experiments.memory import free_memory


def test_the_least_of_all_bounds_is_what_is_free(monkeypatch, tmp_path):
    def files(**fields):
        def lines(path):
            return fields.get(str(path).rpartition("/")[2], [])

        monkeypatch.setattr(memory, "_lines", lines)

    limit = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    files()
    assert free_memory() is None
    machine = {"meminfo": ["MemTotal: 9 kB", "MemAvailable:     5000 kB"]}
    files(**machine)
    assert free_memory() == 5_120_000
    container = {"cgroup": ["0::/a/b"], "memory.max": ["3000000"], "memory.current": ["1000000"]}
    files(**machine, **container)
    assert free_memory() == 2_000_000
    files(**machine, **container, **{"memory.stat": ["anon 1", "inactive_file 500000"]})
    assert free_memory() == 2_500_000
    files(**machine, **(container | {"memory.max": ["max"]}))
    assert free_memory() == 5_120_000
    limit = 4_000_000
    files(**machine, status=["VmSize:\t 1000 kB"])
    assert free_memory() == 4_000_000 - 1_024_000


def test_something_is_free_here():
    free = free_memory()
    if free is None:
        pytest.skip("this system does not tell")
    assert 2**26 < free < 2**50
