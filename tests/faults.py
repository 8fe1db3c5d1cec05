"""Plants faults in a copy of the code, one at a time, and shows that tests fail on each.

Run with `python -m tests.faults`, or with the numbers of some of them: `python -m tests.faults 3 7`.
The tests of a fault are run without it first: they must pass, or their failure would prove nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.helpers.paths import ROOT


class Fault(NamedTuple):
    """A fault to plant.

    Attributes:
      name: what is wrong.
      path: the file it is planted in.
      right: a text that stands there once.
      wrong: what is put in its place.
      tests: test files that must fail.
    """

    name: str
    path: str
    right: str
    wrong: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "outputs are rounded before they are moved",
        "symjax_frames/_terms.py",
        "return apply_action(action.push, element, _widened(leaf, element), name)",
        "return apply_action(action.push, element, leaf, name)",
        ("tests/library/test_mixed_precision.py",),
    ),
    Fault(
        "frames of 16 bits are computed in 16 bits",
        "symjax_frames/frames/_moments.py",
        "    points = at_least_float32(points)\n",
        "",
        ("tests/library/test_accelerators.py",),
    ),
    Fault(
        "elements of a group are rounded to 16 bits",
        "symjax_frames/_trees.py",
        "return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)",
        "return dtype",
        ("tests/library/test_accelerators.py",),
    ),
    Fault(
        "accelerators may round what moves points",
        "symjax_frames/_matrices.py",
        'jnp.einsum("ij,...j->...i", linear, x, precision=Precision.HIGHEST)',
        'jnp.einsum("ij,...j->...i", linear, x)',
        ("tests/library/test_accelerators.py",),
    ),
    Fault(
        "accelerators may round messages between local frames",
        "experiments/tasks/molecules/networks/neighbour_table.py",
        'jnp.einsum("nab,ncb->nca", self.elements.axes, vectors, precision=EXACT)',
        'jnp.einsum("nab,ncb->nca", self.elements.axes, vectors)',
        ("tests/experiments/training/test_precision.py",),
    ),
    Fault(
        "a network in bfloat16 is given parameters in float32",
        "experiments/precision.py",
        "network = network_of(rounded(precision, params))",
        "network = network_of(params)",
        ("tests/experiments/training/test_precision.py",),
    ),
    Fault(
        "training draws from the frame that is evaluated",
        "experiments/tasks/nbody/task.py",
        "trained(self.network(params), self.config.model.in_training)",
        "trained(self.network(params), self.config.model)",
        ("tests/experiments/tasks/nbody/test_nbody_task.py",),
    ),
    Fault(
        "points of a layer-wise network stay where they are",
        "symjax_frames/nn/_motion.py",
        "return points + time * velocities + change[..., 1], velocities",
        "return points + time * velocities, velocities",
        ("tests/library/nn/test_networks.py",),
    ),
    Fault(
        "a joint cloud lacks the vectors",
        "symjax_frames/frames/_joint.py",
        "return vectors / jnp.where(own > 0, own, 1) * size",
        "return 0 * vectors / jnp.where(own > 0, own, 1) * size",
        ("tests/library/frames/test_joint_cloud.py",),
    ),
    Fault(
        "the pull of vectors is transposed",
        "symjax_frames/actions/_euclidean.py",
        "return _turn(g.linear.T, x, rank)",
        "return _turn(g.linear, x, rank)",
        ("tests/library/actions/test_actions.py",),
    ),
    Fault(
        "the push of points forgets the shift",
        "symjax_frames/actions/_euclidean.py",
        "return _shifted(apply(g.linear, x.astype(g.linear.dtype)), g.shift).astype(x.dtype)",
        "return apply(g.linear, x.astype(g.linear.dtype)).astype(x.dtype)",
        ("tests/library/actions/test_actions.py",),
    ),
    Fault(
        "a PCA frame lacks its last element",
        "symjax_frames/frames/_pca.py",
        'return close(base, groups.signs(moments.centroid.shape[-1], proper=group in ("SO", "SE")))',
        "whole = close(\n"
        '        base, groups.signs(moments.centroid.shape[-1], proper=group in ("SO", "SE"))\n'
        "    )\n"
        "    return Frame(jax.tree.map(lambda leaf: leaf[:-1], whole.elements), whole.weights[:-1])",
        ("tests/library/frames/test_pca_frame.py",),
    ),
    Fault(
        "a closure forgets one element of the group",
        "symjax_frames/frames/_close.py",
        "    matrices = _representatives(group, already)\n    if not isinstance",
        "    matrices = _representatives(group, already)\n"
        "    matrices = np.concatenate([matrices[:-1], matrices[:1]])\n    if not isinstance",
        ("tests/library/frames/test_pca_frame.py",),
    ),
    Fault(
        "padding leaks into the centroid",
        "symjax_frames/frames/_moments.py",
        "    kept = jnp.where(row, points, 0)\n",
        "    kept = points\n",
        ("tests/library/frames/test_pca_frame.py",),
    ),
    Fault(
        "frames of SO and SE have either handedness",
        "symjax_frames/frames/_pca.py",
        "        handedness = jnp.where(determinant(jax.lax.stop_gradient(axes)) < 0, -1, 1)\n",
        "        handedness = jnp.ones(axes.shape[:-2], int)\n",
        ("tests/library/frames/test_pca_frame.py",),
    ),
    Fault(
        "the gradient of a sample forgets the weights it was drawn with",
        "symjax_frames/_draws.py",
        "    ratio = weights / jax.lax.stop_gradient(jnp.where(nothing, 1, weights))\n",
        "    ratio = jnp.where(nothing, 0, 1)\n",
        ("tests/library/test_draws.py",),
    ),
    Fault(
        "elements that are drawn together are always the same",
        "symjax_frames/_draws.py",
        "    marks = (steps + offset[None]) * (total / count)[None]\n",
        "    marks = (steps + 0.5) * (total / count)[None]\n",
        ("tests/library/test_draws.py",),
    ),
    Fault(
        "what is over in the first round of a batch is left out",
        "symjax_frames/_pairs.py",
        "return jax.lax.cond(needed > 0, add_rounds, lambda sums: sums, sums)",
        "return sums",
        ("tests/library/test_batch_average.py",),
    ),
    Fault(
        "parts of a batch count as batches",
        "experiments/training/steps.py",
        "return jnp.sum(jnp.where(counted, losses, 0)) / batch_size",
        "return jnp.sum(jnp.where(counted, losses, 0)) / len(losses)",
        ("tests/experiments/training/test_train.py",),
    ),
    Fault(
        "a robust frame is taken for constant in derivatives",
        "symjax_frames/frames/_robust.py",
        "    return jax.lax.stop_gradient(frame) if detach else frame\n",
        "    return jax.lax.stop_gradient(frame)\n",
        ("tests/library/frames/test_robust_frame_derivatives.py",),
    ),
    Fault(
        "weight that has no room is dropped in silence",
        "symjax_frames/frames/_overflow.py",
        "    if dropped > rounding_of(dropped.dtype):\n",
        "    if False:\n",
        ("tests/library/frames/test_frame_overflow.py",),
    ),
    Fault(
        "examples without room for their frame are trained on",
        "experiments/training/train.py",
        "        task.check_room(split)\n",
        "        pass\n",
        ("tests/experiments/training/test_train.py",),
    ),
    Fault(
        "an averaged module draws the same mask in every call",
        "symjax_frames/nn/_fork.py",
        "                draw(stream)\n",
        "                pass\n",
        ("tests/library/nn/test_averaged.py",),
    ),
    Fault(
        "state that is changed under an average is lost unseen",
        "symjax_frames/nn/_fork.py",
        "        self._check_unchanged(module)\n",
        "",
        ("tests/library/nn/test_averaged.py",),
    ),
    Fault(
        "a module that is an argument is copied under an average",
        "symjax_frames/_terms.py",
        ", is_unmoved=is_object)",
        ")",
        ("tests/library/nn/test_averaged.py",),
    ),
    Fault(
        "volumes are left-handed",
        "symjax_frames/actions/_grid.py",
        "_DIRECTIONS = (1, -1, 1)",
        "_DIRECTIONS = (1, -1, -1)",
        ("tests/library/actions/test_voxels.py",),
    ),
    Fault(
        "the loss of forces lacks the energy",
        "experiments/tasks/molecules/task.py",
        "losses += settings.energy_weight * penalty(errors[:, None])",
        "losses += 0 * penalty(errors[:, None])",
        ("tests/experiments/tasks/molecules/test_molecules_objective.py",),
    ),
    Fault(
        "a checkpoint is read without its digest",
        "experiments/runs/checkpoint.py",
        '        if digest_files(self._path(step)) != sums["files"]:\n',
        "        if False:\n",
        ("tests/experiments/runs/test_checkpoint.py",),
    ),
    Fault(
        "a killed run begins its epoch anew",
        "experiments/training/steps.py",
        "return jax.lax.dynamic_slice_in_dim(rows, first % steps_per_epoch, length)",
        "return jax.lax.dynamic_slice_in_dim(rows, 0 * first, length)",
        ("tests/experiments/training/test_train.py",),
    ),
    Fault(
        "a file that is being written is seen half",
        "experiments/files.py",
        '    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")\n',
        "    temporary = path\n    path.unlink(missing_ok=True)\n",
        ("tests/experiments/data/test_data_files.py",),
    ),
    Fault(
        "the library imports the application",
        "symjax_frames/frames/_close.py",
        "def _representatives(",
        "from experiments import errors\n\n\ndef _representatives(",
        ("tests/test_structure.py",),
    ),
    Fault(
        "devices keep their own gradients",
        "experiments/training/mesh.py",
        "jnp.split(jax.lax.psum(flat, axis), ends)",
        "jnp.split(flat, ends)",
        ("tests/experiments/training/test_mesh.py",),
    ),
    Fault(
        "examples that fill up a batch count",
        "experiments/training/steps.py",
        "return Share(places % batch_size, places < batch_size)",
        "return Share(places % batch_size, places >= 0)",
        ("tests/experiments/training/test_mesh.py",),
    ),
    Fault(
        "files are read in the order of another epoch",
        "experiments/training/feed.py",
        "self._order(seed, epoch)[step]",
        "self._order(seed, epoch + 1)[step]",
        ("tests/experiments/training/test_feed.py",),
    ),
)


def copy_of_the_code(folder: Path) -> Path:
    """A copy in which faults can be planted: what is imported, and what tests read."""
    copy = folder / "copy"
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("symjax_frames", "experiments", "tests", "configs", ".github"):
        shutil.copytree(ROOT / name, copy / name, ignore=hidden)
    for path in (*ROOT.glob("*.*"), ROOT / "Makefile", ROOT / ".gitignore"):
        if path.is_file():
            shutil.copy(path, copy)
    return copy


def tests_pass(copy: Path, tests: tuple[str, ...]) -> bool:
    """Runs tests of the copy until the first fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    # Where nothing is planted, the programs are those of the tests themselves.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "compiled")}
    done = subprocess.run(
        [*command, *tests], cwd=copy, env=cache | os.environ, capture_output=True, text=True
    )
    # 1: tests failed. All else, such as an error in the command, proves nothing.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


def main() -> int:
    """Prints a line for each fault; 1 if one of them is not noticed."""
    chosen = [int(number) for number in sys.argv[1:]] or range(1, len(FAULTS) + 1)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_code(Path(folder))
        sound: dict[tuple[str, ...], bool] = {}
        for number in chosen:
            fault = FAULTS[number - 1]
            if fault.tests not in sound:
                sound[fault.tests] = tests_pass(copy, fault.tests)
                assert sound[fault.tests], f"{', '.join(fault.tests)} must pass without a fault"
            path = copy / fault.path
            text = path.read_text("utf-8")
            assert text.count(fault.right) == 1, f"{fault.path} must hold once: {fault.right}"
            path.write_text(text.replace(fault.right, fault.wrong), "utf-8")
            noticed = not tests_pass(copy, fault.tests)
            path.write_text(text, "utf-8")
            missed += not noticed
            answer = "noticed" if noticed else "MISSED"
            print(f"{number:3}  {answer:8} {fault.name} ({', '.join(fault.tests)})", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
