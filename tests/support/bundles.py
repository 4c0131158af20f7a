"""A bundle of a model so small that it can be computed by hand: means over each frame, times a matrix."""
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.bundle import format as bundle_format
from gluon_action.files import describe

LABELS = ['rest', 'wave', 'jump']
#: Classes x channels.
WEIGHTS = np.array([[1, 0, 0], [0, 2, 0], [0, 1, -3]], 'float32')
CLIPS = Preprocess(layout='NCTHW', offsets=(0, 2), stride=4, resize={'short_side': 10}, crop=(8, 8),
                   mean=(0.5, 0.25, 0.125), std=(0.5, 0.25, 0.5))


def make_model(path, preprocess=CLIPS, labels=LABELS, weights=WEIGHTS, output='logits', metadata=True):
    """logits = mean of the input over time and space, times the weights."""
    shape = ['batch', *preprocess.shape(1)[1:]]
    nodes = [helper.make_node('ReduceMean', ['clip'], ['means'], axes=list(range(2, len(shape))), keepdims=0),
             helper.make_node('MatMul', ['means', 'weights'], [output])]
    graph = helper.make_graph(
        nodes, 'means', [helper.make_tensor_value_info('clip', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ['batch', len(weights)])],
        [numpy_helper.from_array(np.ascontiguousarray(weights.T), 'weights')])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    if metadata:
        helper.set_model_props(model, {'preprocess': json.dumps(preprocess.to_json()), 'labels': json.dumps(labels)})
    onnx.save(model, path)
    return Path(path)


def scores_by_hand(preprocess, frames, weights=WEIGHTS):
    data = preprocess.apply(frames).astype('float64')
    return data.mean(axis=tuple(range(2, data.ndim))) @ weights.T


def make_bundle(folder, preprocess=CLIPS, labels=LABELS, frames=None, change=None, weights=WEIGHTS):
    """Write a whole bundle; `change` may spoil the folder before the manifest is sealed over it."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    make_model(folder / 'model.onnx', preprocess, labels, weights)
    if frames is None:
        count = 2 * len(preprocess.offsets) * preprocess.rows
        frames = np.random.default_rng(0).integers(0, 256, (count, 20, 24, preprocess.channels), 'uint8')
    (folder / 'preprocess.json').write_text(json.dumps(preprocess.to_json()))
    (folder / 'labels.json').write_text(json.dumps(labels))
    (folder / 'model_card.md').write_text('# means\n')
    np.savez_compressed(folder / 'reference.npz', frames=frames,
                        logits=scores_by_hand(preprocess, frames, weights).astype('float32'))
    if change:
        change(folder)
    files = describe(folder, bundle_format.FILES)
    manifest = {'format': bundle_format.FORMAT, 'model': 'means', 'opset': 13, 'ir_version': 8,
                'precision': 'float32', 'files': files}
    (folder / 'manifest.json').write_text(bundle_format.seal(manifest))
    return folder
