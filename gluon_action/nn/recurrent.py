"""Recurrent layers as TensorFlow computes them: over the frames that a video has, in one direction."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon


def _sigmoid(F, x):
    # This one is oneDNN's, two and four times as fast as the operators sigmoid and tanh.
    return F.Activation(x, act_type='sigmoid')


def _tanh(F, x):
    return F.Activation(x, act_type='tanh')


class _Recurrent(gluon.HybridBlock):
    """What `LSTM` and `GRU` share: the loop over frames.

    It is MXNet's ``foreach``: a graph of one step, whatever the number of frames, that is exported as ONNX's Scan. It
    is faster than the steps one by one in the graph. MXNet's fused GRU is not TensorFlow's, and its fused LSTM, which
    takes half to three quarters of the time, knows no lengths on a CPU.
    """

    def __init__(self, in_units: int, units: int, *, backward: bool = False, **kwargs):
        super().__init__(**kwargs)
        self._in_units, self._units, self._backward = in_units, units, backward

    def _parameter(self, name: str, units: int, bias: float = 0.0) -> None:
        """Add a kernel of `units` columns, rows for the input above those for the output, and its bias."""
        # tf.get_variable's own start, which the cells leave it at: Glorot's uniform distribution.
        for part, shape, init in ((f'{name}kernel', (self._in_units + self._units, units), mx.init.Xavier()),
                                  (f'{name}bias', (units,), mx.init.Constant(bias))):
            # Named as in TensorFlow, with a dot for the slash, which an attribute could not be.
            self._reg_params[part] = self.params.get(part.replace('.', '_'), shape=shape, init=init)

    def _of_input(self, F, x, kernel, bias, gates: int):
        """What the input adds to each frame's gates, computed for all frames at once: (T, N, gates * units)."""
        weight = F.transpose(F.slice_axis(kernel, axis=0, begin=0, end=self._in_units))
        return F.FullyConnected(x, weight, bias, num_hidden=gates * self._units, flatten=False)

    def _of_output(self, F, kernel):
        """The rows of a kernel that the last output is multiplied by."""
        return F.slice_axis(kernel, axis=0, begin=self._in_units, end=None)

    def _gates(self, F, x, gates: int):
        """Gates (N, gates * units) one by one; a split is slower than its slices."""
        return [F.slice_axis(x, axis=1, begin=gate * self._units, end=(gate + 1) * self._units)
                for gate in range(gates)]

    def _loop(self, F, step, inputs, mask, states: int):
        """Return the outputs (T, N, units) of all frames, and the states behind the last."""
        frames = [*inputs, mask]
        if self._backward:
            # Of a video that is shorter the rows without a frame come first; they leave the states at 0.
            frames = [F.reverse(part, axis=0) for part in frames]
        first = F.slice_axis(F.squeeze(F.slice_axis(inputs[0], axis=0, begin=0, end=1), axis=0), axis=1, begin=0,
                             end=self._units)
        # foreach wants each state under a name of its own.
        outputs, ends = F.contrib.foreach(step, frames, [F.zeros_like(first) for _ in range(states)])
        if self._backward:
            outputs = F.reverse(outputs, axis=0)
        return F.broadcast_mul(outputs, mask), ends


class LSTM(_Recurrent):
    """TensorFlow's BasicLSTMCell over the frames of videos (Hochreiter and Schmidhuber 1997), as ``dynamic_rnn``.

    Parameters
    ----------
    in_units : int
        Numbers a frame.
    units : int
        Cells.
    backward : bool
        Read from a video's last frame to its first.

    Notes
    -----
    ``kernel`` (in_units + units, 4 * units) and ``bias`` are TensorFlow's: gates in the order input, new value, forget,
    output, and 1 is added to the forget gate when it is computed.
    """

    def __init__(self, in_units: int, units: int, **kwargs):
        super().__init__(in_units, units, **kwargs)
        self._parameter('', 4 * units)

    def hybrid_forward(self, F, x, mask, kernel, bias):
        """Return outputs (T, N, units), 0 where there is no frame, and the last output and state, each (N, units).

        Parameters
        ----------
        x : (T, N, in_units)
        mask : (T, N, 1)
            1 where there is a frame, 0 behind the last.
        """
        recurrent = self._of_output(F, kernel)

        def step(frame, states):
            (inputs, there), (output, cell) = frame, states
            gates = inputs + F.dot(output, recurrent)
            write, value, forget, read = self._gates(F, gates, 4)
            new = cell * _sigmoid(F, forget + 1) + _sigmoid(F, write) * _tanh(F, value)
            shown = _sigmoid(F, read) * _tanh(F, new)
            # Where there is no frame both stay as they are.
            new = cell + F.broadcast_mul(there, new - cell)
            shown = output + F.broadcast_mul(there, shown - output)
            return shown, [shown, new]
        outputs, (output, cell) = self._loop(F, step, [self._of_input(F, x, kernel, bias, 4)], mask, states=2)
        return outputs, output, cell


class GRU(_Recurrent):
    """TensorFlow's GRUCell over the frames of videos (Cho et al. 2014, arXiv:1406.1078), as ``dynamic_rnn``.

    It resets the state before it is multiplied by the candidate's kernel, ``tanh(W [x, r * h])``; MXNet's and cuDNN's
    reset the product.

    Parameters
    ----------
    in_units : int
        Numbers a frame.
    units : int
        Cells.
    backward : bool
        Read from a video's last frame to its first.

    Notes
    -----
    ``gates.kernel`` (in_units + units, 2 * units) is for reset and update, in that order, whose bias starts at 1;
    ``candidate.kernel`` (in_units + units, units) for the new state.
    """

    def __init__(self, in_units: int, units: int, **kwargs):
        super().__init__(in_units, units, **kwargs)
        self._parameter('gates.', 2 * units, bias=1.0)
        self._parameter('candidate.', units)

    def hybrid_forward(self, F, x, mask, **weights):
        """Return outputs (T, N, units), 0 where there is no frame, and the last of each video (N, units).

        Parameters
        ----------
        x : (T, N, in_units)
        mask : (T, N, 1)
            1 where there is a frame, 0 behind the last.
        """
        inputs = [self._of_input(F, x, weights[f'{part}.kernel'], weights[f'{part}.bias'], gates)
                  for part, gates in (('candidate', 1), ('gates', 2))]
        of_gates, of_candidate = (self._of_output(F, weights[f'{part}.kernel']) for part in ('gates', 'candidate'))

        def step(frame, states):
            (candidate, gates, there), (output,) = frame, states
            reset, keep = self._gates(F, _sigmoid(F, gates + F.dot(output, of_gates)), 2)
            new = _tanh(F, candidate + F.dot(reset * output, of_candidate))
            output = output + F.broadcast_mul(there, (1 - keep) * (new - output))
            return output, [output]
        outputs, (output,) = self._loop(F, step, inputs, mask, states=1)
        return outputs, output
