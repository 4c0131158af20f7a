"""Seconds of a training step by ``--engine torch``, next to networks written in PyTorch itself, and to MXNet's.

ResNet-50 over 3 segments, I3D and S3D-G on 16 frames, TimeSformer on 8, all of 224 x 224: forward, backward and SGD
with momentum from a batch in NumPy's memory to the sum of the losses, on all cores. PyTorch runs eagerly; convolutions
of networks written in it have their quicker layout. All live in a process each and take turns. Scoring is measured too.
Prints a table, then one JSON object a row. ``--torch-python`` names an interpreter that has PyTorch and this package.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace

from turns import Server, print_rows, ratio_row, repeated, serve, take_turns

# Name -> the network of the zoo, its options, and the shape of its input.
NETWORKS = {
    'resnet50': ('resnet50_v1b_kinetics400', {'num_segments': 3}, (3, 3, 224, 224)),
    'i3d': ('i3d_rgb_kinetics400', {'clip_length': 16}, (1, 3, 16, 224, 224)),
    's3dg': ('s3dg_kinetics400', {'clip_length': 16}, (1, 3, 16, 224, 224)),
    'timesformer': ('timesformer_divst_8x32_kinetics400', {'clip_length': 8}, (1, 3, 8, 224, 224)),
}
SETTINGS = {'momentum': 0.9, 'wd': 1e-7}
RATE, TARGET = 1e-4, 1.05


def main() -> None:
    args = parse_args()
    if args.serve:
        who, network = args.serve
        jobs = twin(network) if who == 'twin' else learner(who, network)
        return serve({f'{who} {what}': repeated(job) for what, job in jobs.items()})
    print_rows(row for network in args.networks for row in measure(network, args))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; the median counts')
    parser.add_argument('--steps', type=int, default=2, help='steps a turn')
    parser.add_argument('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
    parser.add_argument('--serve', nargs=2, metavar=('WHO', 'NETWORK'), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(network: str, args: argparse.Namespace) -> list[dict]:
    """Return the rows of a network."""
    with ExitStack() as stack:
        jobs = []
        for who, python in (('torch', args.torch_python), ('twin', args.torch_python), ('mxnet', sys.executable)):
            server = stack.enter_context(Server(python, __file__, who, network))
            jobs += [(server, f'{who} {what}') for what in ('step', 'scoring')]
        # Those that are compared are neighbours.
        turns = take_turns(jobs[0::2] + jobs[1::2], args.rounds, args.steps)
    return [ratio_row(f'{network}: {what} by {ours} over {theirs}', turns, f'{who} {what}', f'{other} {what}', target)
            for who, other, ours, theirs, what, target in (
                ('torch', 'twin', '--engine torch', 'PyTorch', 'step', TARGET),
                ('torch', 'twin', '--engine torch', 'PyTorch', 'scoring', None),
                ('mxnet', 'torch', 'MXNet', '--engine torch', 'step', None),
                ('mxnet', 'torch', 'MXNet', '--engine torch', 'scoring', None))]


def learner(engine: str, network: str) -> dict[str, Callable[[], object]]:
    """A step and scoring by an engine, as a run does them."""
    import gluon_action  # noqa: F401  (threads first, then MXNet)

    # isort: split
    from gluon_action.compute.engines import ENGINES
    from gluon_action.compute.losses import SoftmaxCrossEntropy
    from gluon_action.model_zoo import get_model
    name, options, shape = NETWORKS[network]
    batch = some_batch(shape)

    def net():
        return get_model(name, pretrained_base=False, tsn=network == 'resnet50', **options)

    computing = ENGINES[engine]()
    trained = net()
    if engine == 'mxnet':
        trained.hybridize(static_alloc=True)
    rows = options.get('num_segments', 1)
    learning = computing.learner(trained, 'sgd', SETTINGS, loss=SoftmaxCrossEntropy(), contexts=computing.contexts(),
                                 rows_per_sample=rows)
    scorer = computing.scorer(net(), contexts=computing.contexts(), rows=rows)

    def step() -> float:
        shards = learning.gradients(batch, [0])
        learning.update(RATE, 1)
        learning.wait()
        return sum(shard.loss_sum for shard in shards)

    return {'step': step, 'scoring': lambda: scorer(batch.data)()}


def twin(network: str) -> dict[str, Callable[[], object]]:
    """The same by a network that is written in PyTorch."""
    import torch
    import torch_twins
    from train_step import torch_resnet50
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS') or len(os.sched_getaffinity(0))))
    _, options, shape = NETWORKS[network]
    rows = options.get('num_segments', 1)
    net = torch_resnet50(torch.nn, 400) if network == 'resnet50' else getattr(torch_twins, network)()
    layout = {'resnet50': torch.channels_last, 'timesformer': torch.contiguous_format}.get(
        network, torch.channels_last_3d)
    net = net.to(memory_format=layout)
    batch = some_batch(shape)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=SETTINGS['momentum'], weight_decay=SETTINGS['wd'])

    def logits():
        x = torch.from_numpy(batch.data).clone(memory_format=layout)
        return net(x).reshape(-1, rows, 400).mean(1)

    def step() -> float:
        net.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(), torch.from_numpy(batch.label).long())
        loss.backward()
        optimizer.step()
        return loss.item()

    def scoring():
        net.eval()
        with torch.inference_mode():
            return logits().numpy()

    return {'step': step, 'scoring': scoring}


def some_batch(shape: tuple[int, ...]) -> SimpleNamespace:
    """One sample of noise, as a loader gives it."""
    import numpy as np
    data = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return SimpleNamespace(data=data, label=np.array([1], np.float32), indices=[0], failures=[])


if __name__ == '__main__':
    main()
