"""Seconds of a training step: our loop next to a bare Gluon loop, and next to the same networks in PyTorch.

VGG16 and ResNet-50 over three segments of one video, 224 x 224, SGD with momentum, on all cores. The frameworks live in
a process each and take turns; our loop and the bare one share process and network. Prints a table, then one JSON object
a row. PyTorch is needed here only: ``pip install torch==2.13.0``, or name another interpreter that has it.
"""
from __future__ import annotations

import argparse
import os
import sys
from types import SimpleNamespace

from turns import Server, print_rows, ratio_row, serve, take_turns

SEGMENTS, SIZE, CLASSES = 3, 224, 101
NETWORKS = {'vgg16': 'vgg16_ucf101', 'resnet50': 'resnet50_v1b_ucf101'}
TARGETS = {'vgg16': 0.70, 'resnet50': 0.85}
LOOP_TARGET = 1.03


def main() -> None:
    args = parse_args()
    if args.serve:
        framework, network = args.serve
        return serve(mxnet_trainers(network) if framework == 'mxnet' else torch_trainers(network))
    print_rows(row for network in args.networks for row in measure(network, args))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; the median counts')
    parser.add_argument('--steps', type=int, default=3, help='steps a turn')
    parser.add_argument('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
    parser.add_argument('--serve', nargs=2, metavar=('FRAMEWORK', 'NETWORK'), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(network: str, args: argparse.Namespace) -> list[dict]:
    """Return the rows of a network."""
    with Server(sys.executable, __file__, 'mxnet', network) as ours, \
            Server(args.torch_python, __file__, 'torch', network) as peer:
        turns = take_turns([(ours, 'loop'), (ours, 'bare'), (peer, 'torch')], args.rounds, args.steps)
    return [ratio_row(f'{network} x {SEGMENTS}: loop over bare Gluon', turns, 'loop', 'bare', LOOP_TARGET),
            ratio_row(f'{network} x {SEGMENTS}: step over PyTorch', turns, 'loop', 'torch', TARGETS[network])]


def mxnet_trainers(network: str) -> dict:
    import gluon_action  # noqa: F401  (threads first, then MXNet)

    # isort: split
    import mxnet as mx

    from gluon_action.compute.losses import SoftmaxCrossEntropy
    from gluon_action.compute.on_mxnet.learner import GluonLearner
    from gluon_action.model_zoo import get_model
    from gluon_action.train.loop import Loop
    settings = {'momentum': 0.9, 'wd': 1e-4}
    net = get_model(NETWORKS[network], nclass=CLASSES, tsn=True, num_segments=SEGMENTS, pretrained_base=False)
    net.hybridize(static_alloc=True)
    data, label = mx.nd.random.normal(shape=(SEGMENTS, 3, SIZE, SIZE)), mx.nd.array([1])
    net(data)
    loop = Loop(GluonLearner(net, 'sgd', settings, loss=SoftmaxCrossEntropy(), contexts=[mx.cpu()],
                             rows_per_sample=SEGMENTS), schedule=lambda update: 1e-4)
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {**settings, 'learning_rate': 1e-4},
                               update_on_kvstore=False)
    criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    batch = SimpleNamespace(data=data.asnumpy(), label=label.asnumpy(), indices=[0], failures=[])

    def bare(steps: int) -> None:
        for _ in range(steps):
            with mx.autograd.record():
                loss = criterion(net(data), label)
            loss.backward()
            trainer.step(1)
        mx.nd.waitall()

    return {'bare': bare,
            'loop': lambda steps: loop.train_epoch(SimpleNamespace(epoch=lambda epoch, start: [batch] * steps), 0)}


def torch_trainers(network: str) -> dict:
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layout = torch.channels_last if network == 'resnet50' else torch.contiguous_format
    net = (torch_resnet50 if network == 'resnet50' else torch_vgg16)(torch.nn).to(memory_format=layout).train()
    data = torch.randn(SEGMENTS, 3, SIZE, SIZE).contiguous(memory_format=layout)
    label = torch.tensor([1])
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            logits = net(data).reshape(-1, SEGMENTS, CLASSES).mean(1)
            loss = torch.nn.functional.cross_entropy(logits, label)
            loss.backward()
            optimizer.step()
            loss.item()

    return {'torch': train}


def torch_vgg16(nn):
    layers, channels = [], 3
    for width in (64, 64, 'pool', 128, 128, 'pool', 256, 256, 256, 'pool', 512, 512, 512, 'pool', 512, 512, 512,
                  'pool'):
        if width == 'pool':
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(0.9),
                         nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.9), nn.Linear(4096, CLASSES))


def torch_resnet50(nn, classes=CLASSES):
    class Bottleneck(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
            self.shortcut = nn.Identity() if stride == 1 and inputs == 4 * width else nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
              nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, stride if block == 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.9), nn.Linear(channels, classes))


if __name__ == '__main__':
    main()
