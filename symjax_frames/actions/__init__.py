"""How group elements move data."""

from symjax_frames.actions._euclidean import points as points
from symjax_frames.actions._euclidean import pseudovectors as pseudovectors
from symjax_frames.actions._euclidean import tensors as tensors
from symjax_frames.actions._euclidean import vectors as vectors
from symjax_frames.actions._images import fields as fields
from symjax_frames.actions._images import images as images
from symjax_frames.actions._images import voxels as voxels
from symjax_frames.actions._packed import packed as packed
from symjax_frames.actions._regular import regular as regular
