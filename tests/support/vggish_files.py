"""Small networks like VGGish as files, and what they compute by the definition."""
from pathlib import Path

import numpy as np

WIDTHS = (2, 3, 3, 2, 3, 4, 6, 5, 7)
SLIM = ('conv1', 'conv2', 'conv3/conv3_1', 'conv3/conv3_2', 'conv4/conv4_1', 'conv4/conv4_2', 'fc1/fc1_1', 'fc1/fc1_2',
        'fc2')
PORT = ('features.0', 'features.3', 'features.6', 'features.8', 'features.11', 'features.13', 'embeddings.0',
        'embeddings.2', 'embeddings.4')


def random_vggish(seed=0, widths=WIDTHS):
    """Weights (3, 3, in, out) and (in, out) and biases of the nine layers, as tensorflow/models has them."""
    rng, before, layers = np.random.default_rng(seed), 1, []
    for number, width in enumerate(widths):
        shape = (3, 3, before, width) if number < 6 else (24 * before if number == 6 else before, width)
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        layers.append((scale * rng.standard_normal(shape), 0.1 * rng.standard_normal(width)))
        before = width
    return layers


def in_slim(layers):
    return {f'vggish/{name}/{part}': array.astype(np.float32) for name, layer in zip(SLIM, layers)
            for part, array in zip(('weights', 'biases'), layer)}


def in_port(layers):
    found = {}
    for name, (weight, bias) in zip(PORT, layers):
        turned = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T
        found[f'{name}.weight'] = np.ascontiguousarray(turned, np.float32)
        found[f'{name}.bias'] = bias.astype(np.float32)
    return found


def embed(pieces, layers):
    """float64 (N, D) of pieces (N, 96, 64): convolutions with zeros around, maxima of 2 x 2, dense layers."""
    x = np.asarray(pieces, float)[..., None]
    for number, (weight, bias) in enumerate(layers[:6]):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        x = bias + sum(padded[:, i:i + height, j:j + width] @ weight[i, j] for i in range(3) for j in range(3))
        x = np.maximum(x, 0)
        if number in (0, 1, 3, 5):
            x = x.reshape(len(x), height // 2, 2, width // 2, 2, -1).max((2, 4))
    x = x.reshape(len(x), -1)
    for weight, bias in layers[6:8]:
        x = np.maximum(x @ weight + bias, 0)
    return x @ layers[8][0] + layers[8][1]


def write_pca(path: Path, width=WIDTHS[-1], size=128, seed=3):
    """A file like ``vggish_pca_params.npz``, and its arrays."""
    rng = np.random.default_rng(seed)
    vectors, means = rng.standard_normal((size, width)), rng.standard_normal((width, 1))
    np.savez(path, pca_eigen_vectors=vectors, pca_means=means)
    return vectors, means[:, 0]
