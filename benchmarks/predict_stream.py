"""Memory and time of predicting a long video: resident memory on the way, and time over the slower of its two halves.

The video is ten seconds of a moving picture whose packets are repeated, so that an hour of it is written in a second.
Decoding alone reads the frames that the windows need as the predictor does; inference alone runs as many batches as the
video has, on input that is in memory. All three have the same threads.

    python benchmarks/predict_stream.py --minutes 60 --threads 1
    python benchmarks/predict_stream.py --minutes 5 --model timesformer_small_custom --input-size 112
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

FPS, SECONDS = 25, 10


def main() -> None:
    """Make the video and the bundle, measure, and print a table and JSON."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video, bundle = Path(folder, 'long.mp4'), Path(args.bundle or Path(folder, 'bundle'))
        num_frames = write_long_video(video, args.minutes, args.width, args.height)
        if not args.bundle:
            # In another process: MXNet would be in the memory that is measured.
            subprocess.run(export_command(args, bundle), check=True, stdout=subprocess.DEVNULL)
        found = measure(video, bundle, args)
    print(f'{args.minutes:g} min, {args.width}x{args.height}, {num_frames} frames, {found["windows"]} windows, '
          f'{found["threads"]} threads, batches of {found["batch_size"]}')
    for name in ('predict', 'decode', 'infer'):
        print(f'{name:8} {found[name]:8.2f} s, {found["cpu"][name]:8.2f} s of cores')
    print(f'predict over the slower of decode and infer: {found["ratio"]:.3f}; over both one after the other: '
          f'{found["predict"] / (found["decode"] + found["infer"]):.3f}')
    print('resident memory, MiB: ' + ', '.join(f'{share} {value:.0f}' for share, value in found['memory'].items()))
    if args.json:
        Path(args.json).write_text(json.dumps({**vars(args), **found}, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--width', type=int, default=320)
    parser.add_argument('--height', type=int, default=240)
    parser.add_argument('--bundle', default=None, help='by default --model with random weights is exported')
    parser.add_argument('--model', default='timesformer_small_custom')
    parser.add_argument('--input-size', type=int, default=56)
    parser.add_argument('--stride', type=int, default=16)
    parser.add_argument('--threads', type=int, default=None)
    parser.add_argument('--json', default=None)
    return parser.parse_args()


def export_command(args: argparse.Namespace, bundle: Path) -> list[str]:
    code = 'import sys; from gluon_action.cli.main import main; sys.exit(main())'
    return [sys.executable, '-c', code, 'export', args.model, '--no-weights', '--num-classes', '20', '--input-size',
            str(args.input_size), '--clip-stride', '2', '--out', str(bundle)]


def write_long_video(path: Path, minutes: float, width: int, height: int) -> int:
    """Write the video and return its number of frames."""
    short = path.with_name('short.mp4')
    with av.open(str(short), 'w') as container:
        stream = container.add_stream('libx264', rate=FPS, options={'preset': 'veryfast', 'g': str(FPS), 'bf': '2'})
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        y, x = np.mgrid[:height, :width]
        for number in range(FPS * SECONDS):
            shade = 128 + 100 * np.sin((x + 3 * number) / 17) * np.cos((y - 2 * number) / 23)
            picture = np.repeat(shade.astype(np.uint8)[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    repeats = max(1, round(60 * minutes / SECONDS))
    with av.open(str(short)) as given, av.open(str(path), 'w') as written:
        source = given.streams.video[0]
        target = written.add_stream_from_template(source)
        packets = [(bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe)
                   for packet in given.demux(source) if packet.size]
        length = round(SECONDS / source.time_base)
        for repeat in range(repeats):
            for data, pts, dts, duration, is_key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.duration = target, source.time_base, duration
                packet.pts, packet.dts, packet.is_keyframe = pts + repeat * length, dts + repeat * length, is_key
                written.mux(packet)
    return repeats * len(packets)


def measure(video: Path, bundle: Path, args: argparse.Namespace) -> dict:
    from gluon_action.deploy.predict.inputs import open_frames
    from gluon_action.deploy.predict.predictor import Predictor
    predictor = Predictor(bundle, stride=args.stride, threads=args.threads)
    look, size = predictor.preprocess, predictor.batch_size
    data = np.random.default_rng(0).random(look.shape(size * look.rows * look.crops), np.float32)
    for _ in range(3):
        predictor.scores(data)
    memory: dict[int, float] = {}
    seconds = 60 * args.minutes

    def sample(window) -> None:
        memory.setdefault(int(10 * window.end / seconds), resident_memory())

    started, worked = time.perf_counter(), time.process_time()
    prediction = predictor.stream(video, on_window=sample)
    predict, predict_cpu = time.perf_counter() - started, time.process_time() - worked
    last = resident_memory()
    started, worked = time.perf_counter(), time.process_time()
    with open_frames(video, look, wanted=predictor.plan.wanted, full_size=False) as frames:
        for _ in frames:
            pass
    decode, decode_cpu = time.perf_counter() - started, time.process_time() - worked
    windows = prediction.protocol['windows']
    started, worked = time.perf_counter(), time.process_time()
    for _ in range(-(-windows // size)):
        predictor.scores(data)
    infer, infer_cpu = time.perf_counter() - started, time.process_time() - worked
    return {'windows': windows, 'threads': predictor.model.threads, 'batch_size': size, 'predict': predict,
            'decode': decode, 'infer': infer, 'ratio': predict / max(decode, infer),
            'cpu': {'predict': predict_cpu, 'decode': decode_cpu, 'infer': infer_cpu},
            'memory': {'at 10 %': memory.get(1, 0.0), 'at 50 %': memory.get(5, 0.0), 'at the end': last,
                       'most': max([*memory.values(), last])}}


def resident_memory() -> float:
    """MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmRSS'):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == '__main__':
    main()
