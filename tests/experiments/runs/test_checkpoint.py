"""A checkpoint is whole or it does not count."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from experiments.errors import ExperimentError
from experiments.runs.checkpoint import Checkpoints


class Record(NamedTuple):
    params: dict
    nothing: None
    step: jax.Array


def tree(step: int) -> Record:
    values = jax.random.normal(jax.random.key(step), (2, 3), jnp.float32)
    params = {"a": [values, jnp.float64(0.1) * step], "b/c": jnp.arange(step + 1)[:2]}
    return Record(params, None, jnp.int32(step))


def same_bits(first, second) -> bool:
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in leaves
    )


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (3, 5, 7):
        checkpoints.save(step, tree(step))
    return checkpoints


def test_newest_is_restored_bit_for_bit_and_old_ones_are_deleted(checkpoints, tmp_path):
    restored = checkpoints.restore(tree(7))
    assert same_bits(restored, tree(7))
    assert not same_bits(restored, tree(5))
    assert jax.tree.structure(restored) == jax.tree.structure(tree(7))
    assert checkpoints.steps() == [7, 5]
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"000000005", "000000005.json", "000000007", "000000007.json"}


def test_shapes_without_values_suffice_to_restore(checkpoints):
    assert same_bits(checkpoints.restore(jax.eval_shape(lambda: tree(7))), tree(7))


def test_floats_are_those_of_the_program_that_reads(checkpoints):
    """Sums and metrics are longer where JAX_ENABLE_X64 is set, in training or where it is read."""
    longer = tree(7)
    values, other = longer.params["a"]
    longer.params["a"] = [np.asarray(values, np.float64), other]
    restored = checkpoints.restore(longer)
    assert same_bits(restored, longer)
    assert not same_bits(restored, tree(7))


def test_without_checkpoints_nothing_is_restored(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(tree(7)) is None


def test_a_step_can_be_saved_again(checkpoints):
    checkpoints.save(7, tree(9))
    assert same_bits(checkpoints.restore(tree(7)), tree(9))


def damage(path, how):
    content = path.read_bytes()
    if how == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_damage_to_any_file_falls_back_to_the_previous(checkpoints, tmp_path, how):
    newest = tmp_path / "checkpoints" / "000000007"
    files = [path for path in newest.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        damage(path, how)
        with pytest.warns(UserWarning, match=r"000000007 cannot be used.*going back to step 5"):
            restored = checkpoints.restore(tree(7))
        assert same_bits(restored, tree(5)), path
        path.write_bytes(content)
    # The files were put back: what was seen above was the damage and nothing else.
    assert same_bits(checkpoints.restore(tree(7)), tree(7))


def test_damaged_checksums_fall_back_to_the_previous(checkpoints, tmp_path):
    damage(tmp_path / "checkpoints" / "000000007.json", "truncated")
    with pytest.warns(UserWarning, match="going back to step 5"):
        assert same_bits(checkpoints.restore(tree(7)), tree(5))


def test_arrays_of_another_checkpoint_are_noticed(checkpoints, tmp_path):
    newest, other = (tmp_path / "checkpoints" / f"00000000{step}" for step in (7, 5))
    shutil.rmtree(newest)
    shutil.copytree(other, newest)
    # Orbax alone reads them without a word.
    alone = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(newest)
    assert int(alone["step"]) == 5
    with pytest.warns(UserWarning, match="going back to step 5"):
        checkpoints.restore(tree(7))


def test_a_checkpoint_without_checksums_does_not_count(checkpoints, tmp_path):
    (tmp_path / "checkpoints" / "000000007.json").unlink()
    assert checkpoints.steps() == [5]
    assert same_bits(checkpoints.restore(tree(7)), tree(5))
    checkpoints.save(6, tree(6))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        *("000000005", "000000005.json", "000000006", "000000006.json")
    }


def test_when_all_are_damaged_nothing_is_made_up(checkpoints, tmp_path):
    for step in (5, 7):
        damage(tmp_path / "checkpoints" / f"00000000{step}" / "manifest.ocdbt", "truncated")
    with pytest.raises(ExperimentError, match=r"(?s)000000007 .*000000005 .*no checkpoint is left"):
        checkpoints.restore(tree(7))


@pytest.mark.parametrize(
    ("like", "words"),
    [
        (tree(7)._replace(step=None), "lacks the arrays step"),
        (
            tree(7)._replace(step=jnp.zeros(2, jnp.int32)),
            r"step must be int32\[2\], got int32\[\]",
        ),
        (tree(7)._replace(step=jnp.float32(0)), r"step must be float32\[\], got int32\[\]"),
    ],
)
def test_another_structure_shape_or_type_is_refused(checkpoints, like, words):
    with pytest.raises(ExperimentError, match=words):
        checkpoints.restore(like)


def test_discarding_goes_back(checkpoints):
    checkpoints.discard_after(5)
    assert checkpoints.steps() == [5]
