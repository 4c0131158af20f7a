"""Seconds that exported models take, next to the same networks in PyTorch, and int8 next to float32.

Scoring of 3 frames by ResNet-50 (a TSN of 3 segments), of clips of 16 frames by I3D and S3D-G and of 8 frames by
TimeSformer, all of 224 x 224, on all cores. PyTorch runs eagerly and has its quicker layout. Every session lives in a
process of its own, as two in one disturb each other, and all take turns; int8 is calibrated on noise, which changes no
time. Layers that int8 makes slower stay in float. Prints a table, then one JSON object a row. ``--torch-python`` names
an interpreter that has PyTorch.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from turns import Server, print_rows, ratio_row, repeated, serve, take_turns

# Name -> the network of the zoo, and the shape of its input.
NETWORKS = {'resnet50': ('resnet50_v1b_kinetics400', (3, 3, 224, 224)),
            'i3d': ('i3d_rgb_kinetics400', (1, 3, 16, 224, 224)),
            's3dg': ('s3dg_kinetics400', (1, 3, 16, 224, 224)),
            'timesformer': ('timesformer_divst_8x32_kinetics400', (1, 3, 8, 224, 224))}
FLOAT_TARGET, INT8_TARGET = 0.8, 0.6
#: Of ONNX Runtime: what `gluon_action.deploy.onnx.model` takes, and the same with threads that wait by spinning.
JOBS = ('float32', 'float32 spinning', 'int8', 'int8 spinning')


def main() -> None:
    args = parse_args()
    if args.export:
        network, folder = args.export
        return export(network, Path(folder))
    if args.serve:
        name, network, folder = args.serve
        return serve({name: repeated(torch_job(network) if name == 'torch' else onnx_job(name, network, Path(folder)))})
    print_rows(row for network in args.networks for row in measure(network, args))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; the median counts')
    parser.add_argument('--steps', type=int, default=2, help='runs a turn')
    parser.add_argument('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
    parser.add_argument('--export', nargs=2, metavar=('NETWORK', 'FOLDER'), help=argparse.SUPPRESS)
    parser.add_argument('--serve', nargs=3, metavar=('JOB', 'NETWORK', 'FOLDER'), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(network: str, args: argparse.Namespace) -> list[dict]:
    """Return the rows of a network."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        subprocess.run([sys.executable, __file__, '--export', network, folder], check=True)
        turns = take_turns([
            (servers.enter_context(Server(args.torch_python if job == 'torch' else sys.executable, __file__, job,
                                          network, folder)), job)
            for job in (JOBS[0], 'torch', JOBS[2], JOBS[1], JOBS[3])], args.rounds, args.steps)
    pairs = (('float32', 'torch', FLOAT_TARGET), ('int8', 'float32', INT8_TARGET), ('int8', 'torch', None),
             ('float32 spinning', 'float32', None), ('int8 spinning', 'int8', None))
    return [ratio_row(f'{network}: {a} over {b}', turns, a, b, target) for a, b, target in pairs]


def export(network: str, folder: Path) -> None:
    """Write ``float32.onnx`` and ``int8.onnx``."""
    import gluon_action  # noqa: F401  (threads first, then MXNet)

    # isort: split
    from gluon_action.deploy.int8.layers import slower_layers
    from gluon_action.deploy.int8.quantize import Calibration
    from gluon_action.deploy.onnx.export import export_onnx
    from gluon_action.model_zoo import get_model
    name, shape = NETWORKS[network]
    net = get_model(name, pretrained_base=False, **({'clip_length': shape[2]} if len(shape) == 5 else {}))
    export_onnx(net, folder / 'float32.onnx', input_shape=shape)
    calibration = Calibration(folder / 'float32.onnx', [noise(shape)], folder)
    slow = slower_layers(calibration, shape)
    calibration.write(folder / 'int8.onnx', [layer.name for layer in calibration.layers if layer.name not in slow])


def onnx_job(job: str, network: str, folder: Path):
    from gluon_action.deploy.onnx.model import OnnxModel
    precision, _, spinning = job.partition(' ')
    model, data = OnnxModel(folder / f'{precision}.onnx', spinning=bool(spinning)), noise(NETWORKS[network][1])
    return lambda: model.run(data)


def noise(shape: tuple):
    import numpy as np
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


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
