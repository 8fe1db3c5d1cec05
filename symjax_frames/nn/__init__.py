"""Flax NNX networks: backbones to average, and the baselines to compare them with."""

try:
    import flax  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "symjax_frames.nn needs Flax, which the extra nn installs: pip install 'symjax_frames[nn]'",
        name="flax",
    ) from None

from symjax_frames.nn._averaged import Averaged as Averaged
from symjax_frames.nn._averaged import averaged as averaged
from symjax_frames.nn._egnn import EGNN as EGNN
from symjax_frames.nn._graph import CompleteGraph as CompleteGraph
from symjax_frames.nn._graph import EdgeList as EdgeList
from symjax_frames.nn._group_cnn import GroupCNN as GroupCNN
from symjax_frames.nn._group_conv import GroupConv as GroupConv
from symjax_frames.nn._group_conv import LiftingConv as LiftingConv
from symjax_frames.nn._group_layers import GroupPool as GroupPool
from symjax_frames.nn._group_layers import RegularNorm as RegularNorm
from symjax_frames.nn._group_layers import SpacePool as SpacePool
from symjax_frames.nn._layerwise import LayerwiseGNN as LayerwiseGNN
from symjax_frames.nn._message import MessagePassing as MessagePassing
from symjax_frames.nn._mlp import MLP as MLP
from symjax_frames.nn._point_gnn import PointGNN as PointGNN
