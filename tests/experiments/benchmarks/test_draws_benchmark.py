"""The benchmark of draws: the noise that it measures, and the table that it makes of it."""

import json
from types import SimpleNamespace

import jax
import numpy as np

import symjax_frames as sf
from experiments.benchmarks import draws


def test_the_variance_of_a_gradient_is_that_over_the_draws():
    """Of two of four turns of one vector, that are opposite if they are systematic, or any two."""
    law = {"in_actions": sf.vectors, "out_actions": None, "num_samples": 2}

    def task(kind):
        corner = sf.sampled_average(lambda x: (x[0] + 1) ** 2, sf.cyclic(4), draws=kind, **law)
        return SimpleNamespace(loss=lambda slope, x, key: slope * corner(key, x))

    keys = jax.random.split(jax.random.key(0), 4000)
    x = np.array([1.0, 0.0])
    run = jax.jit(
        lambda keys: {
            kind: draws.gradient_variance(task(kind), 1.0, x, keys)
            for kind in ("independent", "systematic")
        }
    )
    found = run(keys)
    # Of the values 4, 1, 0, 1: half of their variance, and that of the means 2 and 1.
    np.testing.assert_allclose(found["independent"], 2.25 / 2, rtol=0.1)
    np.testing.assert_allclose(found["systematic"], 0.25, rtol=0.1)


def test_the_table_has_ratios_to_independent_draws(monkeypatch, tmp_path, capsys):
    variances = {"2": {"independent": [4.0, 2.0], "systematic": [1.0, 1.5]}}
    seen = []

    def measured(name, data, options):
        seen.append((name, data))
        return variances

    monkeypatch.setattr(draws, "_measured", measured)
    monkeypatch.setattr(draws, "CASES", {"nbody_demo": draws.CASES["nbody_demo"]})
    draws.main(["--elements", "2", "--out", str(tmp_path)])
    assert seen[0][0] == "nbody_demo" and "data.num_train=500" in seen[0][1]
    row = next(line for line in capsys.readouterr().out.splitlines() if "systematic" in line)
    assert row.split()[-4:] == ["1", "0.250", "1.5", "0.750"]
    stored = json.loads((tmp_path / "draws.json").read_text("utf-8"))
    assert stored["variances"] == {"nbody_demo": variances}
