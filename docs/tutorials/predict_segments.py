"""
What happens in a long video, and when
======================================

A recogniser is trained on short videos of one action each. A recording of one's own is long, and something else
happens in every part of it. ``gluon-action predict`` slides a window over it and says what it sees in each; the
course over time is drawn, and written as numbers.
"""
# %%
# A recording
# -----------
# Six generated videos, one after the other: 12 seconds in which the direction changes five times.
import json
import os
import shlex
import tempfile
from pathlib import Path

import av

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo

os.chdir(tempfile.mkdtemp())
demo = make_demo('demo_motion', 'videos', train_per_class=1, val_per_class=1, seed=11)
happens = ['ScrollUpFast', 'ScrollDownFast', 'ScrollUpSlow', 'ScrollUpFast', 'ScrollDownSlow', 'ScrollDownFast']
with av.open('recording.mp4', 'w') as recording:
    stream = recording.add_stream('libx264', rate=12, options={'crf': '18'})
    stream.width, stream.height = 128, 96
    for name in happens:
        with av.open(str(sorted(demo.video_dir.glob(f'{name}/*.mp4'))[0])) as part:
            for frame in part.decode(video=0):
                recording.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format='rgb24'))))
    recording.mux(stream.encode())

# %%
# Predict
# -------
# The model may be a bundle, the folder of a training run, or published weights. ``--stride`` is how far the window
# moves, and ``--rolling`` how many seconds the mean looks back on that is drawn.
WHAT = 's3dg_small_demo_motion recording.mp4 --use-pretrained --stride 2 --rolling 0.5'


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


gluon_action(f'predict {WHAT} --timeline timeline.png --overlay labelled.gif --json recording.json')
pictures = ['timeline.png']

# %%
# Labels and their course on the video itself; as MP4 it would keep the size of the recording.
pictures = ['labelled.gif']

# %%
# As numbers
# ----------
# Everything that was seen is in the JSON file: each window with its times and its best classes.
about = json.loads(Path('recording.json').read_text())['videos'][0]
windows = [(window['start'], window['end'], max(window['top'], key=window['top'].get)) for window in about['windows']]
right = sum(label == happens[min(int((start + end) / 2 // 2), 5)] for start, end, label in windows)
print(f'{right} of {len(windows)} windows have the class of the video that their middle lies in')

# %%
# Neighbouring windows of one class are a segment. Windows that lie across a change see parts of two videos, which is
# why segments of less than half a second are left out here.
segments = []
for start, end, label in windows:
    if segments and segments[-1][2] == label:
        segments[-1][1] = end
    else:
        segments.append([start, end, label])
segments = [segment for segment in segments if segment[1] - segment[0] > 1]
for start, end, label in segments:
    print(f'{start:5.2f} s to {end:5.2f} s  {label}')
