"""As a program: random numbers in the shapes of the winners' largest network, and how long and large quantizing is."""
import json
import resource
import sys
import time
from pathlib import Path

import gluon_action  # noqa: F401  (prepares MXNet before it is imported)

# isort: split
import numpy as np

from gluon_action.deploy.stored_models.quantize import quantize_stored
from gluon_action.model_zoo.frame_features import Architecture
from gluon_action.model_zoo.frame_features.network import construct
from gluon_action.model_zoo.frame_features.stored.writing import write_stored

NETVLAD1 = {'model': 'NetVLADModelLF', 'feature_names': 'rgb,audio', 'feature_sizes': '1024,128',
            'frame_features': True, 'netvlad_cluster_size': 256, 'netvlad_relu': False, 'gating': True,
            'moe_prob_gating': True, 'iterations': 300}

if __name__ == '__main__':
    step, folder = sys.argv[1], Path(sys.argv[2])
    if step == 'write':
        made, rng = Architecture(**NETVLAD1), np.random.default_rng(0)
        write_stored(folder / 'full', [(made, {
            key: rng.standard_normal(parameter.shape, np.float32)
            for key, parameter in construct(made)._collect_params_with_prefix().items()})])
    else:
        start = time.perf_counter()
        report = quantize_stored(folder / 'full', folder / 'small')
        print(json.dumps({'seconds': time.perf_counter() - start, 'before': report.before, 'after': report.after,
                          'peak': 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
