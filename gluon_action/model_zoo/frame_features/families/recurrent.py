"""Networks that read the frames of a video in order: LSTM, GRU, both ways, and one for each feature."""
from __future__ import annotations

from mxnet import gluon

from ....feature_architecture import Architecture
from ....nn import GRU, LSTM, FrameShuffle
from ..network import FeatureNetwork, feature_model, scopes_of
from ..parts.branches import Branched
from ..parts.classifiers import CLASSIFIER, classifier_of
from ..parts.pooled import ContextGating

# What TensorFlow calls the cells of a layer.
_CELLS = {LSTM: 'basic_lstm_cell', GRU: 'gru_cell'}
_ABOUT = {'family': 'Recurrent'}
_MS, _WILLOW = 'miha-skalic/youtube8mchallenge', 'antoine77340/Youtube-8M-WILLOW'


class Looping:
    """What a network with recurrent layers is beside a network of features.

    MXNet 1.9.1 cannot train a ``foreach`` in a graph whose memory is laid out once: its backward pass stops with "We
    didn't record the computation for iteration" (src/operator/subgraph_op_common.cc). So such a graph lays out none.
    """

    def hybridize(self, active: bool = True, **flags) -> None:
        """Compile, whatever is asked for without ``static_alloc`` and ``static_shape``."""
        super().hybridize(active, **{flag: value for flag, value in flags.items() if not flag.startswith('static_')})


class BothWays(gluon.HybridBlock):
    """A layer that reads the frames in both directions, and one that reads the outputs of both from first to last.

    Parameters
    ----------
    kind : {LSTM, GRU}
    in_units : int
        Numbers D of a frame.
    cells : int
        Of the second layer; each direction of the first has half of them.
    """

    def __init__(self, kind: type, in_units: int, cells: int, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self._forth = _layer(self, 'bidirectional_rnn.fw', kind, in_units, cells // 2)
            self._back = _layer(self, 'bidirectional_rnn.bw', kind, in_units, cells // 2, backward=True)
            self._second = _layer(self, 'rnn', kind, cells // 2 * 2, cells)

    def hybrid_forward(self, F, x, mask):
        """Frames (T, N, D) and a mask (T, N, 1) to the last of the second layer's states, (N, cells)."""
        outputs = [layer(x, mask)[0] for layer in (self._forth[0], self._back[0])]
        return self._second[0](F.concat(*outputs, dim=2), mask)[-1]


def _layer(block: gluon.HybridBlock, scope: str, kind: type, *size: int, number: int = 0, **settings) -> tuple:
    """Make a layer of cells inside `block`, named as TensorFlow does; in a tuple, which registers it no second time."""
    layer = kind(*size, **settings)
    block.register_child(layer, f'{scope}.multi_rnn_cell.cell_{number}.{_CELLS[kind]}')
    return (layer,)


class _Recurrent(Looping, FeatureNetwork):
    draws = False

    def describe(self, F, frames, mask, num_frames):
        """Read all frames of each video, in order."""
        return self.read(F, *(F.transpose(part, axes=(1, 0, 2)) for part in (frames, mask)))

    def read(self, F, x, mask):
        """Frames (T, N, D) and a mask (T, N, 1) to descriptors (N, H)."""
        raise NotImplementedError


class _Stacked(_Recurrent):
    """Layers of cells upon each other."""

    def stack(self, scope: str, kind: type, cells: int, layers: int, backward: bool = False) -> None:
        """Make the layers, which all read in one direction."""
        with self.name_scope():
            sizes = [self.architecture.width, *[cells] * layers]
            self._layers = sum((_layer(self, scope, kind, *size, number=number, backward=backward)
                                for number, size in enumerate(zip(sizes, sizes[1:]))), ())

    def read(self, F, x, mask):
        """Return the last outputs (N, cells) of all layers."""
        last = []
        for layer in self._layers:
            x, output = layer(x, mask)[:2]
            last.append(output)
        return last


@feature_model('LstmModel', options=('lstm_cells', 'lstm_layers', *CLASSIFIER), source=_MS, **_ABOUT)
class LstmModel(_Stacked):
    """Layers of LSTM upon each other; the last output of the uppermost describes the video."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        self.stack('rnn', LSTM, architecture.lstm_cells, architecture.lstm_layers)
        with self.name_scope():
            self.classifier = classifier_of(architecture, architecture.lstm_cells)

    def read(self, F, x, mask):
        """Return the last output of the uppermost layer."""
        return super().read(F, x, mask)[-1]


@feature_model('GruModel', options=('gru_cells', 'gru_layers', 'gru_backward', *CLASSIFIER), source=_WILLOW, **_ABOUT)
class GruModel(_Stacked):
    """Layers of GRU upon each other; the last states of all of them describe the video."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        self.stack('RNN.rnn', GRU, architecture.gru_cells, architecture.gru_layers, architecture.gru_backward)
        with self.name_scope():
            self.classifier = classifier_of(architecture, architecture.gru_cells * architecture.gru_layers)

    def read(self, F, x, mask):
        """Return the last states of all layers."""
        last = super().read(F, x, mask)
        return last[0] if len(last) == 1 else F.concat(*last, dim=1)


@feature_model('Lstmbidirect', options=('lstm_cells', 'frame_shuffle', *CLASSIFIER), source=_MS, **_ABOUT)
class Lstmbidirect(_Recurrent):
    """LSTM both ways, then one way; the last state of its cells, which no gate has passed, describes the video."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        with self.name_scope():
            self.hidden = BothWays(LSTM, architecture.width, architecture.lstm_cells)
            self.shuffle = FrameShuffle() if architecture.frame_shuffle else None
            self.classifier = classifier_of(architecture, architecture.lstm_cells)

    def describe(self, F, frames, mask, num_frames):
        """Read the frames, shuffled where that is asked for."""
        if self.shuffle is not None:
            frames = F.gather_nd(frames, self.shuffle(F.reshape(mask, shape=(0, -1))))
        return super().describe(F, frames, mask, num_frames)

    def read(self, F, x, mask):
        """Return the state of the second layer."""
        return self.hidden(x, mask)


@feature_model('GRUbidirect', options=('lstm_cells', 'gating', *CLASSIFIER), source=_MS, **_ABOUT)
class GRUbidirect(_Recurrent):
    """GRU both ways, then one way, and context gating of its last state where that is asked for."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        cells = architecture.lstm_cells
        with self.name_scope():
            self.hidden = BothWays(GRU, architecture.width, cells)
            self.gate = gate_of(cells) if architecture.gating else None
            self.classifier = classifier_of(architecture, cells)

    def read(self, F, x, mask):
        """Return the state of the second layer, gated."""
        x = self.hidden(x, mask)
        return x if self.gate is None else self.gate(x)


@feature_model('GRUbidirect_branchedBN', options=('gating', *CLASSIFIER), source=_MS, **_ABOUT)
class GRUbidirectBranchedBN(Looping, Branched):
    """A normalised layer for each feature, and a `GRUbidirect` of as many cells as the feature has numbers.

    Gating has no batch normalisation here either; the original stops at it, so there is nothing to be equal to.
    """

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(architecture, **kwargs)
        self.make_branches(1)
        with self.name_scope():
            self._readers = []
            for name, size in architecture.features:
                reader = BothWays(GRU, size, size)
                self.register_child(reader, scopes_of(architecture)[name])
                self._readers.append(reader)
            self.gate = gate_of(architecture.width) if architecture.gating else None
            self.classifier = classifier_of(architecture, architecture.width, scope=self.make_head(len(self._readers)))

    def describe(self, F, frames, mask, num_frames):
        """Read the features, and put what became of them behind each other."""
        there = F.transpose(mask, axes=(1, 0, 2))
        parts = [reader(F.transpose(x, axes=(1, 0, 2)), there)
                 for reader, (_, x) in zip(self._readers, self.branches(F, frames))]
        x = parts[0] if len(parts) == 1 else F.concat(*parts, dim=1)
        return x if self.gate is None else self.gate(x)


def gate_of(units: int) -> ContextGating:
    """Return gating of `units` numbers as it is here: with a bias, which starts from N(0, 1 / sqrt(units))."""
    return ContextGating(units, units, batch_norm=False, remove_diag=False)
