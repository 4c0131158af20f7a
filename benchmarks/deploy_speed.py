"""Seconds that exported models take, next to the same networks in PyTorch, and int8 next to float32.

Scoring of 3 frames by ResNet-50 (a TSN of 3 segments), of clips of 16 frames by I3D and S3D-G and of 8 frames by
TimeSformer, all of 224 x 224, on all cores. PyTorch runs eagerly and has its quicker layout. The frameworks live in a
process each and take turns; int8 is calibrated on noise, which changes no time. Layers that int8 makes slower stay in
float. Prints a table, then one JSON object a row. ``--torch-python`` names an interpreter that has PyTorch.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Name -> the network of the zoo, and the shape of its input.
NETWORKS = {'resnet50': ('resnet50_v1b_kinetics400', (3, 3, 224, 224)),
            'i3d': ('i3d_rgb_kinetics400', (1, 3, 16, 224, 224)),
            's3dg': ('s3dg_kinetics400', (1, 3, 16, 224, 224)),
            'timesformer': ('timesformer_divst_8x32_kinetics400', (1, 3, 8, 224, 224))}
FLOAT_TARGET, INT8_TARGET = 0.8, 0.6
#: Of ONNX Runtime: what `gluon_action.deploy.onnx_model` takes, and the same with threads that wait by spinning.
JOBS = ('float32', 'float32 spinning', 'int8', 'int8 spinning')


def main() -> None:
    args = parse_args()
    if args.serve:
        return serve(*args.serve)
    rows = []
    print(f'{"row":<48} {"ours":>8} {"peer":>8} {"ratio":>7} {"target":>7}')
    for network in args.networks:
        for row in measure(network, args):
            target = '' if row['target'] is None else f'{row["target"]:.2f}'
            print(f'{row["name"]:<48} {row["ours"]:>8.3f} {row["peer"]:>8.3f} {row["ratio"]:>7.3f} {target:>7}',
                  flush=True)
            rows.append(row)
    for row in rows:
        print(json.dumps(row))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; the median counts')
    parser.add_argument('--steps', type=int, default=2, help='runs a turn')
    parser.add_argument('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
    parser.add_argument('--serve', nargs=3, metavar=('FRAMEWORK', 'NETWORK', 'FOLDER'), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(network: str, args: argparse.Namespace) -> list[dict]:
    """Alternate between the processes and return the rows of a network: medians, and median ratios of neighbours."""
    with tempfile.TemporaryDirectory() as folder:
        ours = Server(sys.executable, 'onnx', network, folder)
        peer = Server(args.torch_python, 'torch', network, folder)
        jobs = [(ours, JOBS[0]), (peer, 'torch'), (ours, JOBS[2]), (ours, JOBS[1]), (ours, JOBS[3])]
        turns = {name: [] for _, name in jobs}
        for number in range(args.rounds):
            # The order changes, so that a machine that slows down while it warms up wrongs nobody.
            for server, name in jobs if number % 2 else jobs[::-1]:
                turns[name].append(server.seconds(name, args.steps))
        for server in (ours, peer):
            server.close()
    pairs = (('float32', 'torch', FLOAT_TARGET), ('int8', 'float32', INT8_TARGET), ('int8', 'torch', None),
             ('float32 spinning', 'float32', None), ('int8 spinning', 'int8', None))
    return [{'name': f'{network}: {a} over {b}', 'ours': statistics.median(turns[a]),
             'peer': statistics.median(turns[b]),
             'ratio': statistics.median(x / y for x, y in zip(turns[a], turns[b])), 'target': target}
            for a, b, target in pairs]


class Server:
    """A process that has one network and reports the seconds of what it is asked for."""

    def __init__(self, python: str, *arguments: str):
        self.process = subprocess.Popen([python, __file__, '--serve', *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self._answer()  # ready: warmed up

    def seconds(self, name: str, steps: int) -> float:
        """Seconds a run, over `steps` of them."""
        self.process.stdin.write(f'{steps} {name}\n')
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> float:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f'{" ".join(self.process.args)} ended with {self.process.wait()}')
        return float(line)


def serve(framework: str, network: str, folder: str) -> None:
    jobs = onnx_jobs(network, Path(folder)) if framework == 'onnx' else {'torch': torch_job(network)}
    for job in jobs.values():
        job(), job()  # the first ones allocate
    print(0.0, flush=True)
    for line in sys.stdin:
        steps, _, name = line.strip().partition(' ')
        started = time.perf_counter()
        for _ in range(int(steps)):
            jobs[name]()
        print((time.perf_counter() - started) / int(steps), flush=True)


def onnx_jobs(network: str, folder: Path) -> dict:
    import gluon_action  # noqa: F401  (threads first, then MXNet)

    # isort: split
    import numpy as np

    from gluon_action.deploy.int8 import Calibration
    from gluon_action.deploy.int8_layers import slower_layers
    from gluon_action.deploy.onnx_export import export_onnx
    from gluon_action.deploy.onnx_model import OnnxModel
    from gluon_action.model_zoo import get_model
    name, shape = NETWORKS[network]
    net = get_model(name, pretrained_base=False, **({'clip_length': shape[2]} if len(shape) == 5 else {}))
    export_onnx(net, folder / 'float32.onnx', input_shape=shape)
    data = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    calibration = Calibration(folder / 'float32.onnx', [data], folder)
    slow = slower_layers(calibration, shape)
    calibration.write(folder / 'int8.onnx', [layer.name for layer in calibration.layers if layer.name not in slow])
    jobs = {}
    for job in JOBS:
        precision, _, spinning = job.partition(' ')
        model = OnnxModel(folder / f'{precision}.onnx', spinning=bool(spinning))
        jobs[job] = lambda model=model: model.run(data)
    return jobs


def torch_job(network: str):
    import torch
    import torch_twins
    from train_step import torch_resnet50
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shape = NETWORKS[network][1]
    net = torch_resnet50(torch.nn) if network == 'resnet50' else getattr(torch_twins, network)()
    net, data = net.eval(), torch.rand(shape) * 2 - 1
    layout = {'resnet50': torch.channels_last, 'timesformer': None}.get(network, torch.channels_last_3d)
    if layout is not None:
        net, data = net.to(memory_format=layout), data.contiguous(memory_format=layout)

    def score() -> None:
        with torch.inference_mode():
            net(data)

    return score


if __name__ == '__main__':
    main()
