"""What 25 segments x 10 crops cost in decoding: every video once, next to a reading of the video for every view.

Both read the same frames of the same H.264 files with the same reader, in turns. Prints a table, then one JSON object a
row: files opened, frames that had to be decoded, seconds spent reading (median). The target is a ratio of at most 0.05.
"""
from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
from turns import machine

from gluon_action.compute.on_mxnet.scorer import GluonScorer, mx
from gluon_action.data import VideoClsCustom
from gluon_action.data.preprocess import Preprocess
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.evaluate.views import score_videos

SEGMENTS, CROPS, SIZE = 25, 10, 224
WIDTH, HEIGHT = 340, 256
VIEWS_TARGET = 10_000


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_videos(Path(folder), args.videos, args.frames)
        dataset = VideoClsCustom(folder, f'{folder}/videos.txt', train=False, test_mode=True, num_segments=SEGMENTS,
                                 new_width=WIDTH, new_height=HEIGHT)
        with Watch() as watch:
            once = [watch.during(score_once, dataset) for _ in range(args.rounds)]
            by_view = [watch.during(read_by_view, dataset) for _ in range(args.rounds)]
    rows = []
    for name in ('files opened', 'frames decoded', 'seconds reading'):
        ours, peer = (statistics.median(run[name] for run in runs) for runs in (once, by_view))
        rows.append({'name': f'multiview 25x10, {name}', 'ours': ours, 'peer': peer, 'ratio': round(ours / peer, 4)})
    found = statistics.median(views_a_second() for _ in range(args.rounds))
    rows.append({'name': 'multiview 25x10 undecoded, views/s', 'ours': found, 'peer': VIEWS_TARGET,
                 'ratio': round(found / VIEWS_TARGET, 4)})
    here = machine()
    print(f'{here["cpu"]}; OpenBLAS of MXNet: {here["blas"]}; {here["threads"]} threads')
    print(f'{"row":<36} {"ours":>10} {"by view":>10} {"ratio":>8}')
    for row in rows:
        print(f'{row["name"]:<36} {row["ours"]:>10.2f} {row["peer"]:>10.2f} {row["ratio"]:>8.4f}')
    for row in rows:
        print(json.dumps({**row, **here}))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--videos', type=int, default=2)
    parser.add_argument('--frames', type=int, default=100, help='frames of each')
    parser.add_argument('--rounds', type=int, default=3, help='of each kind; the median counts')
    return parser.parse_args()


def make_videos(folder: Path, count: int, num_frames: int) -> None:
    """H.264 files with x264's own key frame distance and their list in GluonCV's three columns."""
    rng = np.random.default_rng(0)
    for number in range(count):
        scene = rng.integers(0, 256, (HEIGHT // 8 + 20, WIDTH // 8 + 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        with av.open(str(folder / f'{number}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
            for t in range(num_frames):
                y, x = int(60 + 50 * np.sin(t / 9 + number)), int(60 + 50 * np.cos(t / 13 + number))
                picture = np.ascontiguousarray(scene[y:y + HEIGHT, x:x + WIDTH])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            container.mux(stream.encode(None))
    (folder / 'videos.txt').write_text(''.join(f'{number}.mp4 {num_frames} 0\n' for number in range(count)))


def score_once(dataset: VideoClsCustom) -> None:
    """The way of `score_videos`, with a network that costs nothing."""
    preprocess = Preprocess(layout='NCHW', offsets=(0,), crop=(SIZE, SIZE), crops=CROPS, mean=(.5,) * 3, std=(.5,) * 3)
    found = score_videos(lambda views: views.mean(axis=(2, 3)), dataset, preprocess, batch_size=50)
    assert found.views == SEGMENTS * CROPS and found.decodes == len(dataset)


class Undecoded:
    """Videos whose frames (25, 256, 340, 3) are there already."""

    num_segments = SEGMENTS

    def __init__(self, count: int):
        self.samples = [SimpleNamespace(key='none', label=0, path='none', num_frames=SEGMENTS)] * count
        self._frames = np.random.default_rng(0).integers(0, 256, (SEGMENTS, HEIGHT, WIDTH, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.samples)

    def load_frames(self, index: int) -> np.ndarray:
        """The same frames every time."""
        return self._frames


def views_a_second(videos: int = 8) -> float:
    """Views that are cut, prepared and handed to a network of MXNet's which looks at one number of each."""
    preprocess = Preprocess(layout='NCHW', offsets=(0,), crop=(SIZE, SIZE), crops=CROPS, mean=(.5,) * 3, std=(.5,) * 3)
    scorer = GluonScorer(lambda views: views[:, :, 0, 0], [mx.cpu()])
    score_videos(scorer, Undecoded(1), preprocess, batch_size=50)  # takes its memory
    started = time.perf_counter()
    score_videos(scorer, Undecoded(videos), preprocess, batch_size=50)
    return videos * SEGMENTS * CROPS / (time.perf_counter() - started)


def read_by_view(dataset: VideoClsCustom) -> None:
    """Open the video anew for the one frame of each view."""
    for sample in dataset.samples:
        for index in dataset.plan.indices(sample.num_frames, np.random.default_rng(0)):
            for _ in range(CROPS):
                with VideoReader(sample.path, **dataset.reading) as reader:
                    reader.read([index])


class Watch:
    """Counts what every `VideoReader` of this process does while the watch is on."""

    def __enter__(self) -> Watch:
        self._original = VideoReader.__init__, VideoReader.read
        self._keys: dict[str, list[int]] = {}
        self.seen = {}
        watch = self

        def opening(reader, path, **options):
            start = time.perf_counter()
            watch._original[0](reader, path, **options)
            watch.seen['files opened'] += 1
            watch.seen['seconds reading'] += time.perf_counter() - start

        def reading(reader, indices):
            start = time.perf_counter()
            frames = watch._original[1](reader, indices)
            watch.seen['seconds reading'] += time.perf_counter() - start
            watch.seen['frames decoded'] += watch.needed(reader.path, indices)
            return frames

        VideoReader.__init__, VideoReader.read = opening, reading
        return self

    def __exit__(self, *_) -> None:
        VideoReader.__init__, VideoReader.read = self._original

    def during(self, work, *args) -> dict[str, float]:
        """What was seen while ``work(*args)`` ran."""
        self.seen = {'files opened': 0, 'frames decoded': 0, 'seconds reading': 0.}
        work(*args)
        return self.seen

    def needed(self, path: str, indices: list[int]) -> int:
        """Frames from the key frame before each wanted one up to it, each counted once a reading."""
        if path not in self._keys:
            with av.open(path) as container:
                packets = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(video=0)
                                 if packet.pts is not None)
            self._keys[path] = [i for i, (_, is_key) in enumerate(packets) if is_key]
        keys = self._keys[path]
        return len({frame for i in indices for frame in range(max(key for key in keys if key <= i), i + 1)})


if __name__ == '__main__':
    main()
