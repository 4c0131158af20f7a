"""A network of clips that trains in no time, and an index with weights of it that want another preparation."""
import contextlib
import hashlib
import json
import shutil
from dataclasses import replace

import mxnet as mx
import pytest
from mxnet import gluon

from gluon_action.model_zoo import ModelCard, registry
from gluon_action.model_zoo.recognizer import Recognizer

NAME, CUSTOM, TAG, CLASSES = 'tinyclips', 'tinyclips_custom', 'half', 8
#: How the zoo's card wants clips, and how the published weights do.
CARD = {'mean': (.485, .456, .406), 'std': (.229, .224, .225), 'clip_length': 4, 'clip_stride': 1, 'input_size': 40}
ROW = {'mean': (.5, .5, .5), 'std': (.5, .5, .5), 'clip_length': 6, 'clip_stride': 2, 'input_size': 24}


class TinyClips(Recognizer):
    """One convolution over space and time."""

    def __init__(self, nclass, num_segments=1, num_crop=1, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.feat_dim = nclass, 8
        self.num_segments, self.num_crop = num_segments, num_crop
        with self.name_scope():
            self.body = gluon.nn.Conv3D(8, 3, 2, activation='relu')
            self.pool = gluon.nn.GlobalAvgPool3D()
            self.output = gluon.nn.Dense(nclass, in_units=8)

    def hybrid_forward(self, F, x):
        """Scores of clips, averaged over the rows of a video."""
        scores = self.output(self.pool(self.body(x)))
        return scores.reshape((-1, self.num_segments * self.num_crop, self.num_classes)).mean(axis=1)


def build(nclass, *, tsn, num_segments, num_crop, consensus, dropout_ratio=0, **options):
    return TinyClips(nclass, num_segments, num_crop)


@contextlib.contextmanager
def registered():
    """The network under two names, of which the second starts from the first."""
    common = {'dataset': 'custom', 'family': 'Tiny', 'dropout_ratio': 0., **CARD}
    cards = [replace(ModelCard.of_clips(name, **common, **more), num_classes=CLASSES)
             for name, more in ((NAME, {}), (CUSTOM, {'starts_from': NAME}))]
    for card in cards:
        registry.register_model(card)(build)
    try:
        yield
    finally:
        for card in cards:
            del registry._CARDS[card.name], registry._BUILDERS[card.name]


def write_index(folder, **fields):
    """Publish random weights in a folder: index.json, and the file beside it."""
    mx.random.seed(7)
    net = TinyClips(CLASSES)
    net.initialize(mx.init.Xavier(magnitude=4))
    net(mx.nd.zeros((1, 3, 6, 24, 24)))
    path = folder / 'tiny-half.params'
    net.save_parameters(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    row = {'model': NAME, 'tag': TAG, 'publisher': 'The Tiny Lab', 'format': 'params', 'licence': 'CC-BY-NC-4.0',
           'files': [{'name': path.name, 'urls': [path.as_uri()], 'digest': f'sha256:{digest}'}],
           'top1': 71.5, 'top5': 90.25, 'protocol': '10x3', 'average': 'probabilities', 'input': ROW, **fields}
    index = folder / 'index.json'
    index.write_text(json.dumps({'version': 1, 'rows': [row]}))
    return index


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """The network registered, its weights published, and a cache of its own; gives the index."""
    folder = tmp_path_factory.mktemp('published')
    index = write_index(folder)
    with registered(), pytest.MonkeyPatch.context() as patch:
        patch.setenv('GLUON_ACTION_INDEX', str(index))
        patch.setenv('MXNET_HOME', str(folder / 'home'))
        yield index
    shutil.rmtree(folder)
