"""Reads arrays of bytes from idx files, the format of MNIST, with one clear error a defect."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from experiments.data.npz import DataError

_GZIP = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str], rank: int) -> UInt8[np.ndarray, "..."]:
    """Reads an array of unsigned bytes from an idx file.

    The file starts with two zero bytes, the type (8 for unsigned bytes) and the number of axes,
    then has the sizes of the axes as big-endian 32-bit numbers, then the values.

    Args:
      path: the file; one that is compressed by gzip is known by its content.
      rank: the number of axes it must have.

    Returns:
      The array.

    Raises:
      DataError: the file is missing, cannot be read or is damaged, is not an idx file of unsigned
        bytes with so many axes, or has too few or too many values.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: must be an intact idx file, gzipped or not, got one that cannot be read ({error})"
        ) from error
    magic = bytes([0, 0, 8, rank])
    if content[:4] != magic:
        raise DataError(
            f"{path}: must start with the bytes {magic.hex(' ')}, as an idx file of unsigned bytes with "
            f"{rank} axes, got {content[:4].hex(' ') or 'none'}"
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{path}: must be an intact idx file, got one that ends within its header")
    shape = struct.unpack(f">{rank}I", content[4:start])
    values = math.prod(shape)
    if len(content) - start != values:
        raise DataError(
            f"{path}: must have {values} values, {' x '.join(map(str, shape))} as its header says, got "
            f"{len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
