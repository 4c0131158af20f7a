"""
Export a network, and predict without MXNet
===========================================

A network leaves as a *bundle*: a folder with the network as ONNX, how frames are prepared for it, the names of its
classes, and a clip with the scores that must come out. A machine that predicts with it needs NumPy, PyAV and ONNX
Runtime, and no MXNet. Here the small network that the package brings is exported, proves itself, and names the
direction in which a generated video scrolls.
"""
# %%
# Videos, and a network
# ---------------------
# ``make_demo`` generates videos whose four classes differ in the order of their frames only.
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo

os.chdir(tempfile.mkdtemp())
demo = make_demo('demo_motion', 'videos', train_per_class=1, val_per_class=1, seed=3)
video = next(demo.video_dir.glob('ScrollUpFast/*.mp4'))


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


# %%
# Export
# ------
# Of a training run it would be ``gluon-action export runs/mine --out bundle``.
gluon_action('export s3dg_small_demo_motion --use-pretrained --out bundle')
print(*(f'{path.stat().st_size / 1e3:9.1f} kB  {path.name}' for path in sorted(Path('bundle').iterdir())), sep='\n')

# %%
# The bundle says what it is, and its model card says it in words.
print(json.dumps(json.loads(Path('bundle', 'preprocess.json').read_text()), indent=1)[:400], '...')

# %%
# It proves itself
# ----------------
# Every byte is compared with the manifest, and the stored clip gives the stored scores.
gluon_action('verify bundle')

# %%
# Predict where there is no MXNet
# -------------------------------
# A process of its own, in which MXNet, GluonCV and OpenCV cannot be imported. On another machine,
# ``pip install 'gluon_action[runtime]'`` installs what is left.
program = """
import sys
for name in ('mxnet', 'gluoncv', 'cv2'):
    sys.modules[name] = None                      # an import of it fails

from gluon_action.deploy.predict.predictor import Predictor

prediction = Predictor('bundle')(sys.argv[1])
print(prediction.label, round(prediction.score, 4))
for window in prediction.windows:
    print(f'{window.start:.2f} s to {window.end:.2f} s', *prediction.top(1, window.probabilities))
"""
answer = subprocess.run([sys.executable, '-c', program, video], text=True, capture_output=True, check=True).stdout
print(answer)

# %%
# It computes what the network computes
# -------------------------------------
# The same video by the network itself, in MXNet.
from gluon_action.deploy.predict.open_predictor import open_predictor
from gluon_action.deploy.predict.predictor import Predictor

by_mxnet = open_predictor('s3dg_small_demo_motion', use_pretrained=True)(video)
by_onnx = Predictor('bundle')(video)
difference = float(np.abs(by_mxnet.probabilities - by_onnx.probabilities).max())
print(f'{by_mxnet.label} and {by_onnx.label}; probabilities differ by {difference:.1e} at most')

# %%
# Labels on the video
# -------------------
# ``--overlay`` draws the label and its course onto the video, as MP4 or as a small GIF.
gluon_action(f'predict bundle {video} --overlay labelled.gif')
pictures = ['labelled.gif']
