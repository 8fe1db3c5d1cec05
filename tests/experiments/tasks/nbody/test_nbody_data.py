import jax
import numpy as np
import pytest

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.nbody import charged
from experiments.tasks.nbody import data as nbody
from experiments.tasks.nbody.charged import Initial, sample_initial, simulate
from experiments.tasks.nbody.data import load_nbody
from tests.helpers.paths import SHARED

FIELDS = ("position", "velocity", "charge", "target")

# Correct implementations differ from each other by up to 1e-5 where `spread < 1e-5`; ours is one
# more, allowed ten times that. A velocity is off by that over the time of an encounter, which is
# 1/100 at the distance of 0.05 where bodies of opposite charge turn around each other.
POSITION_TOLERANCE, VELOCITY_TOLERANCE = 1e-4, 1e-2


def shared(name: str) -> dict[str, np.ndarray]:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside this checkout")
    with np.load(SHARED / name) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def initial() -> dict[str, Initial]:
    return sample_initial(3000, 2000, 2000)


COUNTS = {"train": 600, "valid": 330, "test": 2000}
"""Examples that are simulated: the first ones of the benchmark, and all of its test set."""


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    counts = {f"num_{split}": count for split, count in COUNTS.items()}
    return load_nbody(cache=tmp_path_factory.mktemp("cache"), **counts)


def force(positions: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """The clipped force on each body of one trajectory, pair by pair."""
    total = np.zeros_like(positions)
    for i in range(len(charges)):
        for j in range(len(charges)):
            if i != j:
                apart = positions[i] - positions[j]
                total[i] += charges[i] * charges[j] * apart / np.sqrt(apart @ apart) ** 3
    return np.clip(total, -100, 100)


def largest(difference: np.ndarray) -> np.ndarray:
    return np.abs(difference).max(axis=tuple(range(1, difference.ndim)))


def test_first_trajectory_has_the_published_numbers(initial):
    first = Initial(*(values[:1] for values in initial["train"]))

    positions, _ = simulate(*first, snapshots=(0, 30, 40))

    np.testing.assert_array_equal(first.charges[0], [-1, 1, -1, -1, -1])
    expected = [
        [0.44527828, 1.45977315, -0.51623939],
        [2.98911632, 1.76937012, -1.17129428],
        [4.16549984, 2.19130914, -1.38261880],
    ]
    # Eight digits were published.
    np.testing.assert_allclose(positions[0, :, 0], expected, atol=6e-9)


def test_draws_are_the_published_ones(initial, monkeypatch):
    check = shared("nbody_check.npz")
    positions, velocities, charges = (values[:200] for values in initial["train"])

    rounding = {"rtol": 4 * np.finfo(float).eps, "atol": 0}
    np.testing.assert_allclose(positions, check["x_init"], **rounding)
    np.testing.assert_allclose(velocities, check["v_init"], **rounding)
    np.testing.assert_array_equal(charges, check["charges"])

    # Without the draws of the noise only the first trajectory is right.
    monkeypatch.setattr(charged, "SNAPSHOTS", 0)
    silent = sample_initial(200, 1, 1)["train"].positions
    np.testing.assert_array_equal(silent[0], check["x_init"][0])
    assert np.all(largest(silent[1:] - check["x_init"][1:]) > 0.1)


def test_trajectories_follow_the_published_ones(initial):
    check = shared("nbody_check.npz")
    start = Initial(*(values[:200] for values in initial["train"]))

    positions, velocities = simulate(*start, snapshots=check["frames"].tolist())

    calm = check["spread"] < 1e-5
    apart, faster = largest(positions - check["loc"]), largest(velocities - check["vel"])
    assert np.all(apart[calm] < POSITION_TOLERANCE)
    assert np.all(faster[calm] < VELOCITY_TOLERANCE)
    # Most trajectories have no close encounter at all, and 4100 steps of rounding.
    assert np.quantile(apart, 0.7) < 1e-10 and np.quantile(faster, 0.7) < 1e-10
    # The others are chaotic: they differ, and stay alike as a whole.
    assert 0.01 < np.mean(apart > 1e-3) < 0.1
    width = np.quantile(np.abs(positions), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(
        width, np.quantile(np.abs(check["loc"]), [0.25, 0.5, 0.75]), rtol=0.01
    )

    # The velocity a step later, with the force at the saved position, is not the saved one.
    kick = 1e-3 * np.array(
        [
            [force(x, q) for x in snapshots]
            for snapshots, q in zip(positions, start.charges, strict=True)
        ]
    )
    assert np.quantile(largest(velocities + kick - check["vel"]), 0.1) > 1e-5


def test_examples_follow_the_published_ones(splits):
    whole = shared("nbody_reference.npz")

    for split, arrays in splits.items():
        reference = {name: array[: COUNTS[split]] for name, array in whole.items()}
        np.testing.assert_array_equal(arrays["charge"], reference[f"charges_{split}"])
        calm = reference[f"spread_{split}"] < 1e-5
        fields = {"position": "loc30", "velocity": "vel30", "target": "loc40"}
        for field, published in fields.items():
            apart = largest(arrays[field] - reference[f"{published}_{split}"])
            tolerance = VELOCITY_TOLERANCE if field == "velocity" else POSITION_TOLERANCE
            assert np.all(apart[calm] < tolerance)
            # Half a unit in the last place of float32, of coordinates up to about 8.
            assert np.median(apart) < 8 * np.finfo(np.float32).eps
        # The last `apart` is that of the target.
        assert 0.02 < np.mean(apart > 1e-3) < 0.08


def test_linear_extrapolation_has_the_published_error(splits):
    test = splits["test"]

    def error(time):
        return np.mean((test["position"] + time * test["velocity"] - test["target"]) ** 2)

    # The tail of 100 chaotic trajectories moves it by about 0.002 between implementations.
    assert abs(error(0.722) - 0.084) < 0.005
    assert error(1.0) > 0.09 and error(0.0) > 0.2


def test_splits_have_the_promised_shapes_and_types(splits):
    for split, count in COUNTS.items():
        assert set(splits[split]) == set(FIELDS)
        for field, array in splits[split].items():
            assert array.dtype == np.float32 and np.all(np.isfinite(array))
            assert array.shape == (count, 5) + (() if field == "charge" else (3,))


def test_the_whole_benchmark_is_that_of_the_publication(initial, tmp_path, monkeypatch):
    def still(positions, velocities, charges, *, snapshots):
        assert snapshots == (30, 40)
        return (np.stack([values] * 2, axis=1) for values in (positions, velocities))

    monkeypatch.setattr(nbody, "simulate", still)
    for split, arrays in load_nbody(cache=tmp_path).items():
        assert len(arrays["charge"]) == {"train": 3000, "valid": 2000, "test": 2000}[split]
        for field, start in zip(("position", "velocity", "charge"), initial[split], strict=True):
            np.testing.assert_array_equal(arrays[field], start.astype(np.float32))


def test_a_step_is_that_of_the_formula():
    # The first body starts outside of the box; the last two are so close that their force is
    # clipped, and the tolerance is larger than rounding because such a pair amplifies it.
    positions = np.array([[5.5, -5.2, 0.1], [0.3, -1.1, 0.7], [1.0, 0.2, 0.0], [1.004, 0.2, 0.003]])
    velocities = np.array([[0.3, 0.1, -0.2], [0.0, 0.4, 0.3], [0.1, 0.2, 0.3], [-0.1, 0.4, 0.0]])
    charges = np.array([1.0, -1.0, 1.0, 1.0])

    snapshots = simulate(positions[None], velocities[None], charges[None], snapshots=(0, 1))

    place, velocity = positions.copy(), velocities.copy()
    place[0], velocity[0] = [4.5, -4.8, 0.1], [-0.3, 0.1, -0.2]
    assert np.any(np.abs(force(place, charges)) == 100)
    for step in range(1, 201):
        velocity += 1e-3 * force(place, charges)
        place += 1e-3 * velocity
        if step % 100 == 0:
            np.testing.assert_allclose(snapshots[0][0, step // 100 - 1], place, atol=1e-10)
            np.testing.assert_allclose(snapshots[1][0, step // 100 - 1], velocity, atol=1e-10)


def test_bodies_in_one_place_make_no_nan():
    for apart in (0.0, 1e-320, 1e-107):
        positions = np.zeros((1, 3, 3))
        positions[0, 1, 0] = apart
        positions[0, 2] = 1.0
        for values in simulate(positions, np.zeros((1, 3, 3)), np.ones((1, 3)), snapshots=(0,)):
            assert np.all(np.isfinite(values))


def test_simulation_does_not_depend_on_its_surroundings(initial):
    few = Initial(*(values[:300] for values in initial["train"]))
    expected = simulate(*few, snapshots=(5,))

    with jax.enable_x64(False):
        single = simulate(*few, snapshots=(5,))
    alone = simulate(*(values[270:271] for values in few), snapshots=(0, 5))

    for field in range(2):
        assert single[field].dtype == np.float64
        np.testing.assert_array_equal(single[field], expected[field])
        np.testing.assert_array_equal(alone[field][0, 1], expected[field][270, 0])


def test_fewer_examples_are_the_first_ones(splits, tmp_path):
    few = load_nbody(cache=tmp_path, num_train=20, num_valid=7, num_test=3)

    for split, count in {"train": 20, "valid": 7, "test": 3}.items():
        for field in FIELDS:
            np.testing.assert_array_equal(few[split][field], splits[split][field][:count])


def test_a_cached_benchmark_is_not_simulated_again(tmp_path, monkeypatch):
    few = {"cache": tmp_path, "num_train": 3, "num_valid": 2, "num_test": 2}
    short = few | {"snapshot_in": 0, "snapshot_out": 1}
    first = load_nbody(**short)
    (file,) = tmp_path.iterdir()
    # A cache file is also a file that a user could pass.
    by_path = load_nbody(path=file, **few)
    monkeypatch.setattr(nbody, "sample_initial", None)

    for again in (load_nbody(**short), by_path):
        for split, arrays in first.items():
            for field, array in arrays.items():
                np.testing.assert_array_equal(again[split][field], array)
    for other in ({"snapshot_out": 2}, {"seed": 44}, {"bodies": 4}, {"num_train": 2}):
        with pytest.raises(TypeError, match="not callable"):
            load_nbody(**(short | other))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 10001}, "num_train must be .* 10000, got 10001"),
        ({"num_valid": 0}, "num_valid .* 0"),
        ({"bodies": 0}, "bodies must be .* got 0"),
        ({"snapshot_in": 40}, "snapshot_in and snapshot_out must be increasing.* got 40 and 40"),
        ({"snapshot_out": 49}, "snapshot_in and snapshot_out must be .* to 48, got 30 and 49"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        load_nbody(cache=tmp_path, **arguments)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("snapshots", [(), (3, 3), (4, 2), (-1,), (49,)])
def test_snapshots_out_of_order_are_refused(snapshots):
    with pytest.raises(ValueError, match="snapshots must be increasing, in 0 to 48, got"):
        simulate(np.zeros((1, 2, 3)), np.zeros((1, 2, 3)), np.ones((1, 2)), snapshots=snapshots)


def a_users_arrays(bodies: int = 4) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 6, "valid": 5, "test": 4}.items():
        for field in FIELDS:
            shape = (count, bodies) if field == "charge" else (count, bodies, 3)
            arrays[f"{field}_{split}"] = generator.normal(size=shape)
    return arrays


def load_file(path, **counts):
    counts = {"num_train": 6, "num_valid": 5, "num_test": 4} | counts
    return load_nbody(cache=path.parent / "unused", path=path, **counts)


def test_a_users_file_is_read(tmp_path):
    arrays = a_users_arrays(bodies=7) | {"charge_test": np.ones((4, 7), int), "note": np.ones(2)}
    np.savez(tmp_path / "mine.npz", **arrays)

    read = load_file(tmp_path / "mine.npz", num_train=2)

    assert read["train"]["position"].shape == (2, 7, 3) and len(read["valid"]["charge"]) == 5
    for split, fields in read.items():
        for field, array in fields.items():
            assert array.dtype == np.float32
            expected = arrays[f"{field}_{split}"][: len(array)].astype(np.float32)
            np.testing.assert_array_equal(array, expected)
    assert not (tmp_path / "unused").exists()


def with_value(name: str, value: float) -> dict[str, np.ndarray]:
    array = a_users_arrays()[name]
    array[(1,) * array.ndim] = value
    return {name: array}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"velocity_valid": None}, "missing: velocity_valid"),
        (
            {"position_train": np.ones((6, 4), complex)},
            "position_train must be fl.* got complex128",
        ),
        ({"target_test": np.ones((4, 4, 3), int)}, "target_test must be floating-point, got int64"),
        ({"charge_train": np.ones((6, 4), bool)}, "charge_train must be .*or integer, got bool"),
        (
            {"position_train": np.ones((6, 12))},
            r"position_train must have shape \(ex.* got \(6, 12\)",
        ),
        ({"position_train": np.ones(())}, r"position_train must have shape \(ex.* got \(\)"),
        ({"position_valid": np.ones(())}, r"position_valid must have shape \(ex.* got \(\)"),
        (
            {"position_test": np.ones((4, 4, 2))},
            r"position_test must have shape \(ex.* got \(4, 4, 2\)",
        ),
        (
            {"velocity_train": np.ones((6, 3, 4))},
            r"velocity_train must have shape .* got \(6, 3, 4\)",
        ),
        (
            {"charge_test": np.ones((4, 4, 1))},
            r"charge_test must .* \(4, 4\), .*got \(4, 4, 1\)",
        ),
        (
            {"target_valid": np.ones((4, 4, 3))},
            r"target_valid must .* \(5, 4, 3.* got \(4, 4, 3\)",
        ),
        (
            {"position_valid": np.ones((5, 3, 3))},
            r"position_valid must have shape \(5, 4, 3.* got \(5, 3, 3\)",
        ),
        (with_value("target_train", np.nan), r"target_train .* 1 values .* nan at \(1, 1, 1\)"),
        (with_value("charge_test", np.inf), r"charge_test .* 1 values .* inf at \(1, 1\)"),
        (with_value("velocity_valid", 1e300), r"velocity_valid .* 1e\+300 at \(1, 1, 1\)"),
    ],
)
def test_each_defect_of_a_users_file_is_named(tmp_path, change, message):
    arrays = {
        name: array for name, array in (a_users_arrays() | change).items() if array is not None
    }
    np.savez(tmp_path / "mine.npz", **arrays)

    with pytest.raises(DataError, match=message) as error:
        load_file(tmp_path / "mine.npz")

    assert str(error.value).startswith(f"{tmp_path / 'mine.npz'}: ")


def test_too_few_examples_and_files_that_cannot_be_read_are_named(tmp_path):
    np.savez(tmp_path / "mine.npz", **a_users_arrays())
    np.savez(tmp_path / "pickled.npz", position_train=np.array([{}], object))

    with pytest.raises(DataError, match="valid must have at least num_valid = 9 examples, got 5"):
        load_file(tmp_path / "mine.npz", num_valid=9)
    with pytest.raises(DataError, match="pickled.npz: array 'position_train' .*pickled"):
        load_file(tmp_path / "pickled.npz")
    with pytest.raises(DataError, match="absent.npz: .*no such file"):
        load_file(tmp_path / "absent.npz")
