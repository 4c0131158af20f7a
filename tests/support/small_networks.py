"""Networks of the zoo at the smallest size that each takes, with weights of which all do something."""
import hashlib
import json
import re

import mxnet as mx
import numpy as np

from gluon_action.model_zoo import get_model, list_models, model_card

CLASSES = 7

# The smallest of each kind: the others differ in depth, strides and the number of their classes.
BODIES = {re.sub(r'(resnet|nl|slowfast_|slowonly_)\d+(x\d+)?', r'\1', name.rsplit('_', 1)[0]): name
          for name in reversed(list_models())}

# Frames and pixels that are least work; families that are not named take 8 of 32.
SMALLEST = {'Inception': {'inceptionv3': (1, 96), '': (1, 64)}, 'ResNet v1b': {'': (1, 64)}, 'VGG': {'': (1, 32)},
            'C3D': {'': (16, 32)}, 'P3D': {'': (16, 64)}, 'I3D of GluonCV': {'i3d_inceptionv3': (8, 80)},
            'SlowFast': {'slowfast_4x16': (9, 32), 'slowfast_8x8': (5, 32), 'slowfast_16x8': (5, 32)},
            'Tiny': {'': (1, 32)}}

# Options of networks of features that make them small, and leave each feature clusters enough.
SMALL_FEATURES = {'netvlad_cluster_size': 4, 'netvlad_hidden_size': 5, 'fv_cluster_size': 4, 'fv_hidden_size': 5,
                  'dbof_cluster_size': 16, 'dbof_hidden_size': 5, 'lstm_cells': 6, 'gru_cells': 5,
                  'nextvlad_cluster_size': 4, 'nextvlad_hidden_size': 8, 'groups': 2, 'gating_reduction': 2,
                  'iterations': 7}


def small_shape(card):
    """Frames and pixels: as few as the network takes, in proportion where it is built for one size."""
    if card.family == 'TimeSformer':
        return max(2, card.clip_length // 4), card.input_size // 7
    for start, shape in SMALLEST.get(card.family, {}).items():
        if card.name.startswith(start):
            return shape
    return 8, 32


def small_options(card):
    """Options of ``get_model`` for a network that is least work."""
    if not card.input.is_video:
        return {'feature_sizes': '6,4', 'clip_length': min(card.clip_length, 9),
                **{name: value for name, value in SMALL_FEATURES.items() if name in card.supports}}
    frames, size = small_shape(card)
    return {'input_size': size, **({'clip_length': frames} if card.input_layout == 'NCTHW' else {})}


def build(name, **options):
    """A network whose layers all do something, and the shape of two rows of its input."""
    card = model_card(name)
    options = {**small_options(card), **options}
    net = get_model(name, nclass=CLASSES, pretrained_base=False, **options)
    fill(net, calm='_nl' in name)
    return net, net.input_shape(2, options.get('input_size'), options.get('clip_length'))


def fill(net, calm=False):
    """Draw weights, whatever MXNet's random numbers are."""
    rng = np.random.default_rng(0)
    for key, parameter in sorted(net._collect_params_with_prefix().items()):
        parameter.set_data(mx.nd.array(draw(rng, key, parameter.shape, calm)))


def draw(rng, key, shape, calm):
    if key.endswith('running_var'):
        return rng.uniform(0.5, 2, shape)
    if key.endswith('gamma'):
        # Activations grow from residual block to block. Non-local blocks take the exponential of their products, which
        # are in the thousands then, where float32 keeps four digits whoever computes it.
        return rng.uniform(0.3, 0.7, shape) if calm else rng.uniform(0.5, 1.5, shape)
    if len(shape) < 2 or 'embed' in key or 'token' in key:
        return rng.normal(0, 0.1, shape)
    return rng.standard_normal(shape, 'float32') * np.float32(np.sqrt(2 / np.prod(shape[1:])))


def made_of(net, shape):
    """A hash of the operators, how they are joined, and the shapes of all parameters; names aside."""
    nodes = json.loads(net(mx.sym.var('data')).tojson())['nodes']
    graph = [[node['op'], node.get('attrs') if node['op'] != 'null' else None, node['inputs']] for node in nodes]
    shapes = [parameter.shape for _, parameter in sorted(net._collect_params_with_prefix().items())]
    return hashlib.sha256(json.dumps([graph, shapes, shape]).encode()).hexdigest()


def patterns(shape):
    """Waves over each channel: noise alone looks the same to a network that takes means."""
    rng = np.random.default_rng(1)
    places = np.meshgrid(*(np.linspace(0, 1, length) for length in shape[2:]), indexing='ij')
    data = rng.uniform(-0.3, 0.3, shape)
    for channel in data.reshape(-1, *shape[2:]):
        phase = sum(rng.uniform(-4, 4) * place for place in places) + rng.uniform()
        channel += rng.normal() + rng.uniform(0, 2) * np.sin(2 * np.pi * phase)
    return data.astype('float32')
