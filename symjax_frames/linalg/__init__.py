"""Linear algebra with values and derivatives that are finite where textbook formulas fail."""

from symjax_frames.linalg._safe import power_of_two as power_of_two
from symjax_frames.linalg._safe import safe_norm as safe_norm
from symjax_frames.linalg._safe import safe_normalize as safe_normalize
from symjax_frames.linalg._symmetric import eigh as eigh
