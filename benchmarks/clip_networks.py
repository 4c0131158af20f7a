"""Seconds and memory of I3D, S3D-G and TimeSformer next to the same networks in PyTorch.

A training step (forward, backward, SGD with momentum) and scoring of one clip of 16 frames of 224 x 224 (TimeSformer:
8 frames, the small one of 112 x 112), on all cores; scoring by the network and by its ONNX export. PyTorch has its
quicker layout, channels_last_3d, for convolutions, and its fused operator for attention. The frameworks live in a
process each and take turns. Then the peak memory of a step of I3D on 64 frames, each framework in a fresh process, less
what it has before the first step. Prints a table, then one JSON object a row. ``--torch-python`` names an interpreter
that has PyTorch.
"""
from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from turns import Server, print_rows, ratio_row, repeated, serve, take_turns

LONG = 64
# name -> model of the zoo, frames and pixels of a clip, target of a training step
NETWORKS = {'i3d': ('i3d_rgb_kinetics400', 16, 224, 0.8), 's3dg': ('s3dg_kinetics400', 16, 224, 0.97),
            'timesformer': ('timesformer_divst_8x32_kinetics400', 8, 224, 1.0),
            'timesformer_small': ('timesformer_small_custom', 8, 112, 1.0)}
# Of scoring; and of memory, with what docs/clip_networks.md says of long clips.
SCORE_TARGETS, MEMORY_TARGET = {'i3d': 0.6, 's3dg': 0.65}, 0.95
TUNABLES = ('glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4194304:'
            'glibc.malloc.trim_threshold=4194304')


def main() -> None:
    args = parse_args()
    if args.serve:
        framework, network, folder = args.serve
        jobs = mxnet_jobs(network, folder=folder) if framework == 'mxnet' else torch_jobs(network)
        return serve({name: repeated(job) for name, job in jobs.items()})
    if args.measure_memory:
        print(step_memory(args.measure_memory))
        return
    print_rows(rows(args))


def rows(args: argparse.Namespace) -> Iterator[dict]:
    for network in args.networks:
        yield from measure(network, args)
    if args.memory:
        peer = memory(args.torch_python, 'torch')
        for what, target, tunables in (('', None, {}), (', GLIBC_TUNABLES', MEMORY_TARGET,
                                                        {'GLIBC_TUNABLES': TUNABLES})):
            ours = memory(sys.executable, 'mxnet', **tunables)
            yield {'name': f'i3d x {LONG} frames: GiB of a step{what}', 'ours': ours, 'peer': peer,
                   'ratio': ours / peer, 'target': target}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='*', default=list(NETWORKS), choices=list(NETWORKS),
                        help='none: the memory alone')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each; the median counts')
    parser.add_argument('--steps', type=int, default=2, help='steps a turn')
    parser.add_argument('--memory', action=argparse.BooleanOptionalAction, default=True, help='measure memory as well')
    parser.add_argument('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
    parser.add_argument('--serve', nargs=3, metavar=('FRAMEWORK', 'NETWORK', 'FOLDER'), help=argparse.SUPPRESS)
    parser.add_argument('--measure-memory', metavar='FRAMEWORK', help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(network: str, args: argparse.Namespace) -> list[dict]:
    """Return the rows of a network."""
    with tempfile.TemporaryDirectory() as folder, Server(sys.executable, __file__, 'mxnet', network, folder) as ours, \
            Server(args.torch_python, __file__, 'torch', network, folder) as peer:
        turns = take_turns([(ours, 'train'), (peer, 'torch train'), (ours, 'score'), (peer, 'torch score'),
                            (ours, 'onnx')], args.rounds, args.steps)
    return [ratio_row(f'{network}: {label} over PyTorch', turns, job, other, target) for job, other, label, target in (
        ('train', 'torch train', 'training step', NETWORKS[network][3]),
        ('score', 'torch score', 'scoring', SCORE_TARGETS.get(network, 1.)),
        ('onnx', 'torch score', 'scoring by ONNX Runtime', 1.))]


def memory(python: str, framework: str, **environment: str) -> float:
    """GiB that training steps of I3D on a long clip add to a process of its own."""
    done = subprocess.run([python, __file__, '--measure-memory', framework], capture_output=True, text=True, check=True,
                          env={**os.environ, **environment})
    return int(done.stdout) / 2 ** 20


def step_memory(framework: str) -> int:
    """KiB that training steps of I3D on a long clip add to the process."""
    jobs = mxnet_jobs('i3d', LONG) if framework == 'mxnet' else torch_jobs('i3d', LONG)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = jobs['train' if framework == 'mxnet' else 'torch train']
    step(), step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def mxnet_jobs(network: str, frames: int | None = None, folder: str | None = None) -> dict:
    import gluon_action  # noqa: F401  (threads first, then MXNet)

    # isort: split
    import mxnet as mx

    from gluon_action.compute.on_mxnet.scorer import GluonScorer
    from gluon_action.model_zoo import get_model
    from gluon_action.train.recipes.parts import compile_to_train
    name, usual, size, _ = NETWORKS[network]
    frames = frames or usual
    net = get_model(name, pretrained_base=False, clip_length=frames, input_size=size)
    compile_to_train(net, [mx.cpu()])
    shape = (1, 3, frames, size, size)
    data, label = mx.nd.random.uniform(-1, 1, shape=shape), mx.nd.array([1])
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 1e-4, 'momentum': 0.9, 'wd': 1e-7},
                               update_on_kvstore=False)
    criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss()

    def train() -> None:
        with mx.autograd.record():
            loss = criterion(net(data), label)
        loss.backward()
        trainer.step(1)
        mx.nd.waitall()

    array = data.asnumpy()
    jobs = {'train': train}
    if folder:
        # Of a network that is not trained meanwhile: new weights are a new graph.
        scorer = GluonScorer(get_model(name, pretrained_base=False, clip_length=frames, input_size=size), [mx.cpu()])
        jobs['score'] = lambda: scorer(array)()
        import onnxruntime

        from gluon_action.deploy.onnx.export import export_onnx
        export_onnx(net, Path(folder, 'model.onnx'), input_shape=shape)
        session = onnxruntime.InferenceSession(str(Path(folder, 'model.onnx')), providers=['CPUExecutionProvider'])
        jobs['onnx'] = lambda: session.run(None, {'clip': array})
    return jobs


def torch_jobs(network: str, frames: int | None = None) -> dict:
    import torch
    import torch_twins
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    _, usual, size, _ = NETWORKS[network]
    net = getattr(torch_twins, network)()
    data = torch.rand(1, 3, frames or usual, size, size) * 2 - 1
    if network in ('i3d', 's3dg'):
        net = net.to(memory_format=torch.channels_last_3d)
        data = data.contiguous(memory_format=torch.channels_last_3d)
    label = torch.tensor([1])
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-7)

    def train() -> None:
        net.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(data), label)
        loss.backward()
        optimizer.step()
        loss.item()

    def score() -> None:
        net.eval()
        with torch.inference_mode():
            net(data)

    return {'torch train': train, 'torch score': score}


if __name__ == '__main__':
    main()
