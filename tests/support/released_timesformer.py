"""Random weights in the shape of the files that TimeSformer's authors released."""
import numpy as np


def values_of(net, seed=0):
    """Random values by the authors' names, and by this network's keys."""
    rng = np.random.default_rng(seed)
    ours = {key: rng.normal(float(key.endswith('gamma')), 0.1, parameter.shape).astype('float32')
            for key, parameter in net._collect_params_with_prefix().items()}
    words = {'gamma': 'weight', 'beta': 'bias'}
    theirs = {'.'.join(words.get(part, part) for part in key.split('.')): array for key, array in ours.items()}
    return theirs, ours


def released(theirs, prefix='model.'):
    """What a released file holds: the weights among what training needs."""
    state = {prefix + name: array for name, array in theirs.items()}
    return {'epoch': 14, 'model_state': state, 'cfg': 'TRAIN:\n  ENABLE: true\n',
            'optimizer_state': {'state': {0: {'momentum_buffer': np.ones(3, 'float32')}},
                                'param_groups': [{'lr': 5e-5, 'nesterov': True, 'params': [0, 1], 'fused': None}]}}
