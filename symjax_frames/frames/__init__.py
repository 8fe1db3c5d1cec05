"""Frames: equivariant maps from data to weighted group elements."""

from symjax_frames.frames._close import close as close
from symjax_frames.frames._pca import packed_pca_frame as packed_pca_frame
from symjax_frames.frames._pca import pca_frame as pca_frame
from symjax_frames.frames._pca import spectral_gap as spectral_gap
