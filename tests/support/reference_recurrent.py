"""TensorFlow's LSTM, GRU and dynamic_rnn in NumPy's float64, from their equations."""
import numpy as np
from reference_frame_features import sigmoid


def LSTM(weights, scope, x, h, c):
    """BasicLSTMCell: one step."""
    gates = np.concatenate([x, h], -1) @ weights[f'{scope}basic_lstm_cell.kernel']
    i, j, f, o = np.split(gates + weights[f'{scope}basic_lstm_cell.bias'], 4, axis=-1)
    c = c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
    return np.tanh(c) * sigmoid(o), c


def GRU(weights, scope, x, h, c):
    """GRUCell: one step; it has no second state."""
    gates = np.concatenate([x, h], -1) @ weights[f'{scope}gru_cell.gates.kernel']
    r, u = np.split(sigmoid(gates + weights[f'{scope}gru_cell.gates.bias']), 2, axis=-1)
    new = np.concatenate([x, r * h], -1) @ weights[f'{scope}gru_cell.candidate.kernel']
    return u * h + (1 - u) * np.tanh(new + weights[f'{scope}gru_cell.candidate.bias']), c


def _units_of(weights, cell, scope):
    return len(weights[f'{scope}gru_cell.candidate.bias']) if cell is GRU else \
        len(weights[f'{scope}basic_lstm_cell.bias']) // 4


def dynamic_rnn(weights, cell, scope, videos, lengths, backward=False):
    """Outputs (length, units), last h and last c of each video, of as many frames as it has."""
    scope = f'{scope}.' if scope else ''
    results = []
    for video, length in zip(np.asarray(videos, np.float64), lengths):
        h = c = np.zeros(_units_of(weights, cell, scope))
        outputs = []
        for x in video[:length][::-1] if backward else video[:length]:
            h, c = cell(weights, scope, x, h, c)
            outputs.append(h)
        outputs = outputs[::-1] if backward else outputs
        results.append((np.reshape(outputs, (length, len(h))), h, c))
    return results


def padded(results, frames):
    """Outputs (N, frames, units) with zeros behind the last frame, as dynamic_rnn gives them."""
    out = np.zeros((len(results), frames, results[0][0].shape[1]))
    for row, (outputs, *_) in zip(out, results):
        row[:len(outputs)] = outputs
    return out
