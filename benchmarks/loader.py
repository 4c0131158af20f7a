"""How fast videos become batches, next to GluonCV's data set in Gluon's DataLoader, and whether memory stays flat.

Both read the same list of H.264 files with the same transform and number of worker processes, in turns. Last come rows
of clips that nobody decodes: what one process hands out at most. Prints a table, then one JSON object a row: videos a
second (median of epochs), or growth of resident memory.
"""
from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from gluon_action.data import VideoClsCustom, VideoLoader
from gluon_action.data.dataloader import mx
from gluon_action.data.transforms import video
from gluon_action.data.transforms.scaling import Scaling

# isort: split
from turns import machine

WIDTH, HEIGHT = 340, 256
MEAN, STD, RATIOS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], [1.0, 0.875, 0.75, 0.66]
#: Clips a second that one process shall hand out, by their frames and type.
HANDED_OUT = {(3, 'float32'): 1600, (3, 'pixels'): 3200, (32, 'pixels'): 400}
CASES = {  # what a network of each kind reads of a video
    'tsn, 3 frames a video': dict(num_segments=3),
    'tsn, 7 frames a video': dict(num_segments=7),
    'clip of 16 frames': dict(new_length=16, new_step=2),
}


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_videos(Path(folder), args.videos)
        rows = [memory(folder, args)]  # first, while no other loader's processes are about
        rows += [speed(name, folder, case, args) for name, case in CASES.items()]
    rows += [row for frames in (3, 32) for row in handed_out(frames, args)]
    here = machine()
    print(f'{here["cpu"]}; OpenBLAS of MXNet: {here["blas"]}; {here["threads"]} threads')
    print(f'{"row":<60} {"ours":>10} {"other":>10} {"ratio":>7} {"target":>7}')
    for row in rows:
        print(f'{row["name"]:<60} {row["ours"]:>10.3f} {row["peer"]:>10.3f} {row["ratio"]:>7.2f} '
              f'{row.get("target") or "":>7}')
    for row in rows:
        print(json.dumps({**row, **here}))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--videos', type=int, default=48, help='files to read an epoch')
    parser.add_argument('--rounds', type=int, default=7, help='epochs of each, in turns; the median counts')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--epochs', type=int, default=20, help='epochs over which memory is watched')
    return parser.parse_args()


def make_videos(folder: Path, count: int) -> None:
    """H.264 files of 60 to 100 frames and their list, `videos.txt`, in GluonCV's three columns."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        num_frames = int(rng.integers(60, 101))
        scene = rng.integers(0, 256, (HEIGHT // 8 + 20, WIDTH // 8 + 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        with av.open(str(folder / f'{number}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
            for t in range(num_frames):
                y, x = int(60 + 50 * np.sin(t / 9 + number)), int(60 + 50 * np.cos(t / 13 + number))
                picture = np.ascontiguousarray(scene[y:y + HEIGHT, x:x + WIDTH])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            container.mux(stream.encode(None))
        lines.append(f'{number}.mp4 {num_frames} {number % 5}\n')
    (folder / 'videos.txt').write_text(''.join(lines))


def open_ours(folder: str, case: dict, args: argparse.Namespace):
    """A function of the epoch that reads all its batches, and one that closes."""
    transform = video.VideoGroupTrainTransform((224, 224), RATIOS, MEAN, STD)
    videos = VideoClsCustom(folder, f'{folder}/videos.txt', video_loader=True, transform=transform, **case)
    loader = VideoLoader(videos, args.batch_size, shuffle=True, last='keep', num_workers=args.workers, prefetch=4)
    return lambda epoch: sum(len(batch.data) for batch in loader.epoch(epoch)), loader.close


def open_gluoncv(folder: str, case: dict, args: argparse.Namespace):
    """The same for GluonCV."""
    their_video = importlib.import_module('gluoncv.data.transforms.video')
    transform = their_video.VideoGroupTrainTransform((224, 224), RATIOS, MEAN, STD)
    videos = importlib.import_module('gluoncv.data').VideoClsCustom(
        folder, f'{folder}/videos.txt', video_loader=True, use_decord=True, transform=transform, **case)
    loader = mx.gluon.data.DataLoader(
        videos, args.batch_size, shuffle=True, last_batch='keep', num_workers=args.workers, prefetch=4,
        batchify_fn=importlib.import_module('gluoncv.data.dataloader').tsn_mp_batchify_fn)
    return lambda epoch: read_all(loader), lambda: None


def read_all(batches) -> int:
    rows = 0
    for data, label in batches:
        data.wait_to_read()
        label.wait_to_read()
        rows += len(data)
    return rows


def speed(name: str, folder: str, case: dict, args: argparse.Namespace) -> dict:
    """Videos a second, from the median of the epochs."""
    ours, close_ours = open_ours(folder, case, args)
    theirs, close_theirs = open_gluoncv(folder, case, args)
    seconds = {ours: [], theirs: []}
    for epoch in range(args.rounds + 1):
        for read, taken in seconds.items():
            started = time.perf_counter()
            rows = read(epoch)
            if epoch:  # the first opens files and starts libraries
                taken.append(time.perf_counter() - started)
            assert rows == args.videos * case.get('num_segments', 1)
    close_ours()
    close_theirs()
    mine, peer = (args.videos / statistics.median(taken) for taken in seconds.values())
    return dict(name=f'loader, {name}: videos/s', ours=mine, peer=peer, ratio=mine / peer)


class Undecoded:
    """Clips (1, 3, T, 224, 224) that are there already, float32 or pixels."""

    def __init__(self, frames: int, count: int, pixels: bool = False):
        self.samples = range(count)
        self.scaling = Scaling(MEAN, STD) if pixels else None
        clip = np.random.default_rng(0).integers(0, 256, (1, 3, frames, 224, 224), dtype=np.uint8)
        self._clip = clip if pixels else clip.astype(np.float32)

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, index: int, *, epoch: int = 0, view: int = 0):
        """The same clip every time."""
        return self._clip, index


def handed_out(frames: int, args: argparse.Namespace) -> list[dict]:
    """Clips a second of batches that cost nothing but being handed out.

    Of float32 beside clips that are sent, and not written by the workers where the batch needs them, and of pixels
    beside float32.
    """
    count = args.batch_size * (1920 // frames)  # long, as the fresh memory with which an epoch begins counts little
    loaders = {name: VideoLoader(Undecoded(frames, count, name == 'pixels'), args.batch_size, num_workers=args.workers,
                                 prefetch=4) for name in ('sent', 'float32', 'pixels')}
    loaders['sent']._tasks._rows.decide = lambda shape: None
    seconds = {name: [] for name in loaders}
    for epoch in range(args.rounds + 1):
        for name, taken in seconds.items():
            started = time.perf_counter()
            for batch in loaders[name].epoch(epoch):
                assert len(batch.data) == args.batch_size
            if epoch:
                taken.append(time.perf_counter() - started)
    for loader in loaders.values():
        loader.close()
    rate = {name: count / statistics.median(taken) for name, taken in seconds.items()}
    return [dict(name=f'loader, {frames}x224 undecoded, {what}: clips/s', ours=rate[mine], peer=rate[other],
                 ratio=rate[mine] / rate[other], target=HANDED_OUT.get((frames, mine)))
            for what, mine, other in (('float32, sent ones beside', 'float32', 'sent'),
                                      ('pixels, float32 beside', 'pixels', 'float32'))]


def memory(folder: str, args: argparse.Namespace) -> dict:
    """Resident memory of all processes after the last epoch as a part of that after the third."""
    growth = []
    for open_loader in (open_ours, open_gluoncv):
        read, close = open_loader(folder, CASES['tsn, 3 frames a video'], args)
        sizes = []
        for epoch in range(args.epochs):
            read(epoch)
            gc.collect()
            sizes.append(resident())
        close()
        growth.append(sizes[-1] / sizes[2])
    return dict(name=f'loader, memory after {args.epochs} epochs / after 3', ours=growth[0], peer=growth[1],
                ratio=growth[0] / growth[1])


def resident() -> int:
    """Bytes that this process and its children hold, shared pages shared out."""
    total = 0
    for pid in [os.getpid(), *children()]:
        fields = dict(line.split(':') for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:])
        total += int(fields['Pss'].split()[0]) * 1024
    return total


def children() -> list[int]:
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            parent = stat.read_text().rpartition(')')[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.append(int(stat.parent.name))
    return found


if __name__ == '__main__':
    main()
