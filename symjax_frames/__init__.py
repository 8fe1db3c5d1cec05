"""Exact equivariance for any JAX function, by averaging over frames and groups.

The names that are used often are here. The namespaces `actions`, `correlation`, `frames`, `groups`
and `linalg` hold them and all others. Import `symjax_frames.nn`, which needs Flax, and
`symjax_frames.testing` by their own names.
"""

from importlib.metadata import version as _version

from symjax_frames import actions as actions
from symjax_frames import correlation as correlation
from symjax_frames import frames as frames
from symjax_frames import groups as groups
from symjax_frames import linalg as linalg
from symjax_frames._types import Action as Action
from symjax_frames._types import Frame as Frame
from symjax_frames.actions import fields as fields
from symjax_frames.actions import images as images
from symjax_frames.actions import packed as packed
from symjax_frames.actions import points as points
from symjax_frames.actions import pseudovectors as pseudovectors
from symjax_frames.actions import regular as regular
from symjax_frames.actions import tensors as tensors
from symjax_frames.actions import vectors as vectors
from symjax_frames.actions import voxels as voxels
from symjax_frames.batching import batch_average as batch_average
from symjax_frames.batching import batch_capacity as batch_capacity
from symjax_frames.elements import Isometry as Isometry
from symjax_frames.frames import canonical_frame as canonical_frame
from symjax_frames.frames import close as close
from symjax_frames.frames import frame_capacity as frame_capacity
from symjax_frames.frames import frame_diagnostics as frame_diagnostics
from symjax_frames.frames import landmark_frame as landmark_frame
from symjax_frames.frames import local_frames as local_frames
from symjax_frames.frames import packed_pca_frame as packed_pca_frame
from symjax_frames.frames import packed_robust_frame as packed_robust_frame
from symjax_frames.frames import pca_frame as pca_frame
from symjax_frames.frames import robust_frame as robust_frame
from symjax_frames.frames import scored_frame as scored_frame
from symjax_frames.frames import spectral_gap as spectral_gap
from symjax_frames.groups import Group as Group
from symjax_frames.groups import cyclic as cyclic
from symjax_frames.groups import dihedral as dihedral
from symjax_frames.groups import euclidean as euclidean
from symjax_frames.groups import icosahedral as icosahedral
from symjax_frames.groups import octahedral as octahedral
from symjax_frames.groups import orthogonal as orthogonal
from symjax_frames.groups import permutations as permutations
from symjax_frames.groups import quadrature as quadrature
from symjax_frames.groups import signed_permutations as signed_permutations
from symjax_frames.groups import signs as signs
from symjax_frames.groups import special_euclidean as special_euclidean
from symjax_frames.groups import special_orthogonal as special_orthogonal
from symjax_frames.groups import tetrahedral as tetrahedral
from symjax_frames.groups import translation as translation
from symjax_frames.sampling import sampled_average as sampled_average
from symjax_frames.transforms import frame_average as frame_average
from symjax_frames.transforms import group_average as group_average

__version__ = _version("symjax_frames")
