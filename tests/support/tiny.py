"""Networks of two convolutions, which every option of a run can be tried on in no time.

As a program it is the training command for `OF_RUNS`, at a pause before each batch of ``$PAUSE`` seconds: so that there
is time to stop it.
"""
import hashlib
import os
import runpy
import sys
import time
from pathlib import Path

import gluon_action  # noqa: F401  (prepares MXNet where this runs as a program)

# isort: split
import initial_values
import mxnet as mx
from mxnet import gluon

from gluon_action import model_zoo
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.model_zoo import registry
from gluon_action.model_zoo.tsn import ActionRec, over_segments

#: Names: of a network of 3 thousand parameters, and of one whose file, of 330 KB, is larger than all logs of a run.
NAME, OF_RUNS = 'tiny_ucf101', 'tiny_custom'


class Tiny(ActionRec):
    def __init__(self, nclass, dropout_ratio=0.5, channels=(8, 16), **head):
        super().__init__(nclass, feat_dim=channels[-1], **head)
        self.layers = gluon.nn.HybridSequential()
        for width in channels:
            self.layers.add(gluon.nn.Conv2D(width, 3, 2, use_bias=False), gluon.nn.BatchNorm(),
                            gluon.nn.Activation('relu'))
        self.layers.add(gluon.nn.GlobalAvgPool2D(), gluon.nn.Flatten(), gluon.nn.Dropout(dropout_ratio))
        self._add_head()

    def body(self, x):
        return self.layers(x)


def build_tiny(nclass, *, tsn, num_segments, num_crop, consensus, **options):
    return over_segments(Tiny(nclass, **options), tsn, num_segments, num_crop, consensus)


def build_of_runs(nclass, **options):
    return build_tiny(nclass, channels=(8, 1024), **options)


def save_tiny(folder, nclass, seed):
    """The parameters of a random network, and their SHA-1."""
    mx.random.seed(seed)
    net = Tiny(nclass, init_std=0.5)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 32, 32)))
    path = folder / f'{nclass}-{seed}.params'
    net.save_parameters(str(path))
    return path, hashlib.sha1(path.read_bytes()).hexdigest()


def register_tiny():
    registry.register_model(model_zoo.ModelCard.of_2d(
        NAME, family='Tiny', dataset='ucf101', supports=('partial_bn', 'bn_frozen'), dropout_ratio=0.5, init_std=0.1))(
        build_tiny)


def register_of_runs():
    registry.register_model(model_zoo.ModelCard.of_2d(
        OF_RUNS, family='Tiny', dataset='custom', supports=('partial_bn', 'bn_frozen'), dropout_ratio=0.5,
        init_std=0.1))(build_of_runs)


def forget(name):
    del registry._CARDS[name], registry._BUILDERS[name]


def pause_before_batches(seconds):
    """Let the loaders of this process wait before each batch, so that there is time to stop it."""
    read = VideoLoader.epoch

    def slowly(*args, **kwargs):
        for batch in read(*args, **kwargs):
            time.sleep(seconds)
            yield batch

    VideoLoader.epoch = slowly


if __name__ == '__main__':
    initial_values.install()  # as in the tests, which compare what both leave
    register_of_runs()
    pause_before_batches(float(os.environ.get('PAUSE', 0)))
    if os.environ.get('RANK') == '1':  # what one of several processes does
        if os.environ.get('DIES'):
            VideoLoader.epoch = lambda *args, **kwargs: os._exit(7)
        if os.environ.get('OTHER_SEED'):
            sys.argv += ['--seed', '5']
    script = Path(__file__).parents[2] / 'scripts' / 'train_recognizer.py'
    sys.argv[0] = str(script)
    runpy.run_path(str(script), run_name='__main__')
