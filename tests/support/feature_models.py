"""Small stored models of features that tests score, quantize and combine."""
import numpy as np

from gluon_action.model_zoo.frame_features import Architecture, build
from gluon_action.model_zoo.frame_features.stored.writing import write_stored

#: What generated features of `gluon_action.data.demo.frame_features` are by default, cut to few frames.
FRAMES = {'feature_names': 'rgb,audio', 'feature_sizes': '16,8', 'frame_features': True, 'num_classes': 10,
          'max_frames': 12}
VIDEOS = {'feature_names': 'mean_rgb,mean_audio', 'feature_sizes': '16,8', 'num_classes': 10}


def architecture(model='FrameLevelLogisticModel', **changes):
    """A small network of frames, or by name of whole videos."""
    of_videos = model in ('LogisticModel', 'MoeModel')
    return Architecture(**({'model': model} | (VIDEOS if of_videos else FRAMES) | changes))


def arrays_of(network_architecture, seed=0, scale=1.):
    """Random parameters of a network."""
    net = build(network_architecture, seed=seed)
    rng = np.random.default_rng(seed)
    return {key: (parameter.data().asnumpy() + scale * rng.standard_normal(parameter.shape)).astype(np.float32)
            for key, parameter in net._collect_params_with_prefix().items()}


def store(folder, model='FrameLevelLogisticModel', seed=0, scale=1., **changes):
    """Write a model with random parameters; returns its prefix."""
    made = architecture(model, **changes)
    return write_stored(folder / 'inference_model', [(made, arrays_of(made, seed, scale))])


def features(rows=3, frames=12, width=24, seed=0):
    """Features (N, T, D) of videos of 1, 2, 3 ... frames."""
    data = np.random.default_rng(seed).uniform(-2, 2, (rows, frames, width)).astype(np.float32)
    for row in range(rows):
        data[row, 1 + row:] = 0
    return data
