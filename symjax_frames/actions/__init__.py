"""How group elements move data."""

from symjax_frames.actions._euclidean import points as points
from symjax_frames.actions._euclidean import pseudovectors as pseudovectors
from symjax_frames.actions._euclidean import tensors as tensors
from symjax_frames.actions._euclidean import vectors as vectors
from symjax_frames.actions._packed import packed as packed
