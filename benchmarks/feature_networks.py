"""Seconds of a training step of NetVLAD next to the same network in PyTorch, and of tags next to reading alone.

The step is that of `train.py`, of 32 videos of 300 frames: 64 clusters, 256 hidden units, 3,862 classes, gates, Adam,
limited gradients, on all cores. PyTorch's network has the same parameters, and must give the same probabilities. The
frameworks live in a process each and take turns. Tags are those of logistic regression on the mean of the frames, as
inference scores files, 128 videos at a time; beside it the same records are read only, both with two processes that
read. ``--full-size`` takes a step of the winners' network as well, 256 clusters and 1024 units, 16 videos, in a process
of its own, and says its seconds and the most memory that the process had. Prints a table, then one JSON object a row.
``--torch-python`` names an interpreter that has PyTorch.
"""
from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from turns import Server, print_rows, ratio_row, repeated, serve, take_turns

CLASSES, FRAMES, WIDTH = 3862, 300, 1152
BATCH, CLUSTERS, HIDDEN = 32, 64, 256
FULL_BATCH, FULL_CLUSTERS, FULL_HIDDEN, FULL_GIB = 16, 256, 1024, 8
STEP_TARGET, TAGS_TARGET = 1.0, 0.8
READERS, TOGETHER = 2, 128


def main() -> None:
    args = parse_args()
    if args.serve:
        jobs, folder = args.serve
        return serve({'ours': our_step, 'torch': torch_step, 'files': file_jobs}[jobs](Path(folder)))
    if args.measure_full_size:
        step = repeated(trainer(FULL_BATCH, FULL_CLUSTERS, FULL_HIDDEN)[0])
        step(1)
        started = time.perf_counter()
        step(1)
        print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20)
        return
    with tempfile.TemporaryDirectory() as folder:
        print_rows(rows(Path(folder), args))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; the median counts')
    parser.add_argument('--steps', type=int, default=2, help='steps a turn')
    parser.add_argument('--videos', type=int, default=1024, help='to tag, of 120 to 300 frames, 250 kB each')
    parser.add_argument('--full-size', action='store_true', help='take a step of the largest network as well')
    parser.add_argument('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
    parser.add_argument('--serve', nargs=2, metavar=('JOBS', 'FOLDER'), help=argparse.SUPPRESS)
    parser.add_argument('--measure-full-size', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args()


def rows(folder: Path, args: argparse.Namespace) -> Iterator[dict]:
    """Yield the rows of the table."""
    with Server(sys.executable, __file__, 'ours', str(folder)) as ours, \
            Server(args.torch_python, __file__, 'torch', str(folder)) as peer:
        turns = take_turns([(ours, 'ours'), (peer, 'torch')], args.rounds, args.steps)
    yield ratio_row(f'NetVLAD K{CLUSTERS} H{HIDDEN} x {BATCH}: step over PyTorch', turns, 'ours', 'torch', STEP_TARGET)
    from frame_features import make_records
    make_records(folder, args.videos)
    with Server(sys.executable, __file__, 'files', str(folder)) as server:
        turns = take_turns([(server, 'tags'), (server, 'reading')], args.rounds, 1)
    yield {'name': 'logistic tags over reading alone: videos/s', 'target': TAGS_TARGET,
           'ours': args.videos / statistics.median(turns['tags']),
           'peer': args.videos / statistics.median(turns['reading']),
           'ratio': statistics.median(read / tag for read, tag in zip(turns['reading'], turns['tags']))}
    if args.full_size:
        seconds, memory = map(float, subprocess.run([sys.executable, __file__, '--measure-full-size'], text=True,
                                                    stdout=subprocess.PIPE, check=True).stdout.split())
        yield {'name': f'K{FULL_CLUSTERS} H{FULL_HIDDEN} x {FULL_BATCH} ({seconds:.1f} s): GiB over allowed',
               'ours': memory, 'peer': FULL_GIB, 'ratio': memory / FULL_GIB, 'target': 1.0}


def videos(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of frames as they are read, and labels."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (count, FRAMES, WIDTH), dtype=np.uint8).astype(np.float32) * 4 / 255 + 4 / 512 - 2
    label = np.zeros((count, CLASSES), np.float32)
    label[:, :3] = 1
    return data.astype(np.float32), label


def trainer(batch: int, clusters: int, hidden: int):
    """Return what takes a training step, and the network."""
    import gluon_action  # noqa: F401  (threads first, then MXNet)

    # isort: split
    import mxnet as mx

    from gluon_action.train.recipes.frame_features.config import FeatureTraining
    from gluon_action.train.recipes.frame_features.learning import build_loop
    loop = build_loop(FeatureTraining(
        model='NetVLADModelLF', feature_names='rgb,audio', feature_sizes='1024,128', frame_features=True,
        num_classes=CLASSES, max_frames=FRAMES, iterations=FRAMES, netvlad_cluster_size=clusters,
        netvlad_hidden_size=hidden, netvlad_relu=False, gating=True, moe_prob_gating=True, batch_size=batch,
        base_learning_rate=2e-4), [mx.cpu()])
    data, label = videos(batch)
    read = SimpleNamespace(data=data, label=label, indices=range(batch), failures=[])

    def step() -> None:
        loop.step(read)
        mx.nd.waitall()
    return step, loop.learner.net


def arrays_of(net) -> dict[str, np.ndarray]:
    return {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}


def our_step(folder: Path) -> dict:
    """Train, after parameters and probabilities of two videos were written for PyTorch."""
    step, net = trainer(BATCH, CLUSTERS, HIDDEN)
    import mxnet as mx
    np.savez(folder / 'netvlad.npz', probabilities=net(mx.nd.array(videos(2)[0])).asnumpy(), **arrays_of(net))
    return {'ours': repeated(step)}


def torch_step(folder: Path) -> dict:
    """Train PyTorch's network, after it was compared with ours."""
    import torch
    from torch_netvlad import NetVLAD
    from torch_twins import load
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = NetVLAD(CLUSTERS, HIDDEN, CLASSES)
    arrays = dict(np.load(folder / 'netvlad.npz'))
    wanted = arrays.pop('probabilities')
    load(net, arrays)
    with torch.inference_mode():
        np.testing.assert_allclose(net.eval()(torch.from_numpy(videos(2)[0])).numpy(), wanted, rtol=1e-3, atol=1e-6)
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), 2e-4, fused=True)
    data, label = map(torch.from_numpy, videos(BATCH))

    def step() -> None:
        p = net(data)
        loss = -(label * torch.log(p + 1e-5) + (1 - label) * torch.log(1 - p + 1e-5)).sum(1).mean() + net.penalty()
        optimizer.zero_grad()
        loss.backward()
        for parameter in net.parameters():
            torch.nn.utils.clip_grad_norm_(parameter, 1.0)
        optimizer.step()
        loss.item()
    return {'torch': repeated(step)}


def file_jobs(folder: Path) -> dict:
    """Score all files by logistic regression, and read them alone."""
    from gluon_action import engine
    engine.set_threads()
    from gluon_action.data import VideoLoader
    from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
    from gluon_action.deploy.feature_scoring.scoring import FileScorer, Scoring
    from gluon_action.feature_architecture import Architecture
    from gluon_action.model_zoo.frame_features import build
    from gluon_action.model_zoo.frame_features.stored.writing import write_stored
    network = Architecture(model='FrameLevelLogisticModel', feature_names='rgb,audio', feature_sizes='1024,128',
                           frame_features=True, num_classes=CLASSES, max_frames=FRAMES)
    arrays = arrays_of(build(network))
    model = write_stored(folder / 'model' / 'inference_model', [(network, arrays)])
    files = sorted(map(str, (folder / 'frame').iterdir()))
    loader = VideoLoader(FeatureRecords(files, features=network.features, num_classes=CLASSES, max_frames=FRAMES),
                         TOGETHER, num_workers=READERS)
    scorer = FileScorer(Scoring(str(model), batch_size=TOGETHER, num_readers=READERS), files)

    def read() -> None:
        for batch in loader.epoch(0):
            assert not batch.failures

    def tag() -> None:
        for number in range(len(files)):
            for batch in scorer.score(number):
                assert not batch.failures
    return {'tags': repeated(tag), 'reading': repeated(read)}


if __name__ == '__main__':
    main()
