"""Makes the pictures of the home page and of the README out of generated videos: python docs/make_pictures.py

Four minutes of one core: a recogniser is trained and tested as `make demo` does, and predicts in a video that is joined
from videos of its validation. Pictures of pages want a Chromium (apt-get install chromium).
"""
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo

PICTURES = Path(__file__).absolute().parent / 'pictures'
NETWORK = '--model resnet18_v1b_custom --use-tsn --input-size 64 --dataset demo_appearance --data-dir videos -j 1'
SHOWN = ('Star', 'CheckedSquare', 'PinwheelDisc', 'Crescent')
#: Enlarges the frames of what is predicted, so that labels on them can be read.
SCALE = 3


def gluon_action(command):
    """Run a command of the project."""
    assert main(shlex.split(command)) == 0, command


def join(videos, path):
    """Write one video of several, their frames `SCALE` times as large."""
    with av.open(str(path), 'w') as joined:
        stream = joined.add_stream('libx264', rate=12, options={'crf': '16'})
        stream.width, stream.height = SCALE * 128, SCALE * 96
        for video in videos:
            with av.open(str(video)) as part:
                for frame in part.decode(video=0):
                    pixels = np.kron(frame.to_ndarray(format='rgb24'), np.ones((SCALE, SCALE, 1), np.uint8))
                    joined.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        joined.mux(stream.encode())


def frames_of(path, seconds):
    """Return the frames nearest to these times, as uint8 (H, W, 3) each."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format='rgb24')) for frame in container.decode(video=0)]
    return [min(frames, key=lambda frame: abs(frame[0] - second))[1] for second in seconds]


def part_of_page(page, section, path, width=1000, height=500):
    """Write a picture of the beginning of one section of a page, as a browser shows it."""
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        sys.exit('no chromium and no google-chrome: apt-get install chromium')
    alone = f'<style>header, footer, section:not(#{section}) {{ display: none !important }}</style></head>'
    copy = Path('alone.html').absolute()
    copy.write_text(Path(page).read_text().replace('</head>', alone, 1))
    subprocess.run([browser, '--headless', '--no-sandbox', '--disable-gpu', f'--window-size={width},{height}',
                    f'--screenshot={path}', copy.as_uri()], check=True, capture_output=True)
    pixels = np.asarray(Image.open(path).convert('RGB'))
    filled = np.flatnonzero((pixels != pixels[-1, -1]).any(axis=(1, 2)))  # below the section the page is empty
    Image.fromarray(pixels[filled[0]:filled[-1] + 1]).quantize(128).save(path)


def make():
    """Train, test, predict, and copy what was drawn."""
    demo = make_demo('demo_appearance', 'videos')
    gluon_action(f'train {NETWORK} --num-segments 3 --no-pretrained-base --dropout 0 --data-aug v3 --new-height 64 '
                 '--new-width 74 --batch-size 16 --lr 0.02 --warmup-epochs 1 --lr-mode cosine --num-epochs 14 '
                 '--log-interval 0 --save-dir run')
    gluon_action(f'test {NETWORK} --num-segments 5 --three-crop --new-height 0 --new-width 0 --resume-params '
                 'run/best.params --save-dir test')
    join((sorted(demo.video_dir.glob(f'{name}/*.mp4'))[-1] for name in SHOWN), 'joined.mp4')
    gluon_action('predict run joined.mp4 --stride 1 --rolling 0.5 --top-k 4 --overlay labelled.mp4 '
                 '--timeline timeline.png')
    strip = np.concatenate(frames_of('labelled.mp4', (3, 5)), axis=1)
    Image.fromarray(strip).save(PICTURES / 'labelled_frames.jpg', quality=88)
    gluon_action(f'check-data {demo.video_dir} --out checked')
    part_of_page('test/report.html', 'wrong', PICTURES / 'wrong_videos.png')
    part_of_page('checked/check.html', 'sheet', PICTURES / 'check_data.png')
    for source in ('run/history.png', 'test/confusion_matrix.png', 'timeline.png'):
        shutil.copyfile(source, PICTURES / Path(source).name)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make()
