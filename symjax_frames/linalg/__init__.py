"""Linear algebra whose values and derivatives stay finite where the textbook forms do not."""

from symjax_frames.linalg._safe import safe_norm as safe_norm
from symjax_frames.linalg._safe import safe_normalize as safe_normalize
from symjax_frames.linalg._symmetric import eigh as eigh

__all__ = ["eigh", "safe_norm", "safe_normalize"]
