"""Frames: equivariant maps from data to weighted group elements."""

from symjax_frames.frames._canonical import canonical_frame as canonical_frame
from symjax_frames.frames._canonical import canonical_margin as canonical_margin
from symjax_frames.frames._capacity import FrameCapacity as FrameCapacity
from symjax_frames.frames._capacity import frame_capacity as frame_capacity
from symjax_frames.frames._checks import GroupName as GroupName
from symjax_frames.frames._close import close as close
from symjax_frames.frames._diagnostics import FrameDiagnostics as FrameDiagnostics
from symjax_frames.frames._diagnostics import frame_diagnostics as frame_diagnostics
from symjax_frames.frames._joint import JointCloud as JointCloud
from symjax_frames.frames._joint import joint_cloud as joint_cloud
from symjax_frames.frames._landmark import centre_of_mass as centre_of_mass
from symjax_frames.frames._landmark import landmark_frame as landmark_frame
from symjax_frames.frames._local import LocalDiagnostics as LocalDiagnostics
from symjax_frames.frames._local import local_diagnostics as local_diagnostics
from symjax_frames.frames._local import local_frames as local_frames
from symjax_frames.frames._overflow import FrameOverflowWarning as FrameOverflowWarning
from symjax_frames.frames._overflow import OnOverflow as OnOverflow
from symjax_frames.frames._pca import packed_pca_frame as packed_pca_frame
from symjax_frames.frames._pca import pca_frame as pca_frame
from symjax_frames.frames._pca import spectral_gap as spectral_gap
from symjax_frames.frames._robust import robust_frame as robust_frame
from symjax_frames.frames._scored import ScoredKind as ScoredKind
from symjax_frames.frames._scored import identity_rate as identity_rate
from symjax_frames.frames._scored import prior_loss as prior_loss
from symjax_frames.frames._scored import scored_frame as scored_frame
from symjax_frames.frames._transport import transport as transport
