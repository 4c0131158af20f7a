"""A loop so small that tests can run it many times: made-up samples, a network of one convolution, and its weights."""
from dataclasses import dataclass, field

import gluon_action  # noqa: F401  (prepares MXNet where a test runs as a program)

# isort: split
import mxnet as mx
import numpy as np

from gluon_action.compute.losses import SoftmaxCrossEntropy
from gluon_action.compute.on_mxnet.learner import GluonLearner
from gluon_action.evaluate.scores.validation import Scores
from gluon_action.train.loop import Loop

CLASSES = 3


@dataclass
class Batch:
    data: np.ndarray
    label: np.ndarray
    indices: list
    failures: list = field(default_factory=list)


class Batches:
    """A loader of made-up samples, each of `rows` rows, with VideoLoader's interface."""

    def __init__(self, count=22, size=4, rows=1, missing=(), shuffle=True, several=False):
        rng = np.random.default_rng(5)
        self.label = rng.integers(0, CLASSES, count).astype('float32')
        self.data = rng.normal(size=(count, rows, 3, 6, 6)).astype('float32')
        for row, label in zip(self.data, self.label):
            row[:, int(label)] += 1.5
        if several:
            self.label = np.eye(CLASSES, dtype='float32')[self.label.astype(int)]
            self.label[:, 0] = 1
        self.size, self.missing, self.shuffle = size, set(missing), shuffle
        self.read = []

    def __len__(self):
        return -(-len(self.label) // self.size)

    def epoch(self, epoch, start_batch=0):
        order = np.random.default_rng([1, epoch]).permutation(len(self.label)) if self.shuffle \
            else np.arange(len(self.label))
        for number in range(start_batch, len(self)):
            self.read.append((epoch, number))
            wanted = order[number * self.size:(number + 1) * self.size].tolist()
            indices = [index for index in wanted if index not in self.missing]
            data = self.data[indices].reshape((-1, *self.data.shape[2:]))
            yield Batch(data if indices else None, self.label[indices] if indices else None,
                        indices, [index for index in wanted if index in self.missing])


@dataclass
class Failure:
    index: int
    key: str = 'clip.avi'
    message: str = 'clip.avi: cannot be read by decord: truncated'


class FailingBatches(Batches):
    def epoch(self, epoch, start_batch=0):
        for batch in super().epoch(epoch, start_batch):
            batch.failures = [Failure(index) for index in batch.failures]
            yield batch


def contexts_of(devices):
    return [mx.cpu(i) for i in range(devices)]


class Consensus(mx.gluon.HybridBlock):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def hybrid_forward(self, F, x):
        return x.reshape((-1, self.rows, CLASSES)).mean(axis=1)


def make_net(devices=1, dropout=0.3, frozen=False, rows=1, seed=3):
    mx.random.seed(seed)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(8, 3, use_bias=False), mx.gluon.nn.BatchNorm(use_global_stats=frozen),
            mx.gluon.nn.Activation('relu'), mx.gluon.nn.Dropout(dropout), mx.gluon.nn.Flatten(),
            mx.gluon.nn.Dense(CLASSES))
    if rows > 1:
        net.add(Consensus(rows))
    net.initialize(mx.init.Xavier(), ctx=mx.cpu())
    net(mx.nd.zeros((rows, 3, 6, 6)))
    net.collect_params().reset_ctx(contexts_of(devices))
    net.hybridize()
    return net


def make_learner(net=None, devices=1, optimizer='sgd', optimizer_params=None, loss=None, **kwargs):
    net = make_net(devices) if net is None else net
    params = {'momentum': 0.9, 'wd': 1e-3} if optimizer_params is None else optimizer_params
    return GluonLearner(net, optimizer, params, loss=loss or SoftmaxCrossEntropy(), contexts=contexts_of(devices),
                        **kwargs)


def make_loop(*args, schedule=None, seed=0, mixup=None, scores=Scores, **kwargs):
    """A loop over `make_learner`, whose arguments the others are."""
    return Loop(make_learner(*args, **kwargs), schedule=schedule or (lambda update: 0.05), seed=seed, mixup=mixup,
                scores=scores)


def weights(loop):
    return loop.learner.parameters()


def same(a, b):
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def arrays_of(state):
    """All arrays of the state of a loop: parameters, averages, what the optimizer remembers, other statistics."""
    return {f'{part} {key}': array for part, held in state.items() if isinstance(held, dict)
            for key, array in held.items() if isinstance(array, np.ndarray)}


def close(a, b, tolerance=1e-5):
    return a.keys() == b.keys() and all(np.allclose(a[name], b[name], rtol=tolerance, atol=tolerance) for name in a)
