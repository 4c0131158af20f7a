"""Layers that the networks of the zoo share."""
from .attention import MLP, Attention, Linear
from .batch_norm import BatchNorm, RowBatchNorm, RowScaling, batch_norms, freeze_batch_norms
from .composed import Composed, Scored, as_operators, only_scoring
from .consensus import Consensus
from .drop_path import DropPath
from .frame_draw import FrameDraw, FrameShuffle, set_round
from .frame_padding import FramePaddedConv3D, pad_strided_frames
from .gating import SelfGating
from .group_norm import GroupNorm
from .layer_norm import LayerNorm
from .recurrent import GRU, LSTM
from .same import SameConv3D, SameMaxPool3D, SizedBlock, lay_out, same_padding

__all__ = ['GRU', 'LSTM', 'MLP', 'Attention', 'BatchNorm', 'Composed', 'Consensus', 'DropPath', 'FrameDraw',
           'FramePaddedConv3D', 'FrameShuffle', 'GroupNorm', 'LayerNorm', 'Linear', 'RowBatchNorm',
           'RowScaling', 'SameConv3D', 'SameMaxPool3D', 'Scored', 'SelfGating', 'SizedBlock', 'as_operators',
           'batch_norms', 'freeze_batch_norms', 'lay_out', 'only_scoring', 'pad_strided_frames', 'same_padding',
           'set_round']
