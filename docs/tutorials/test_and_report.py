"""
Test a network, and read the report
===================================

An accuracy without its protocol says little: the same network differs by points between one crop of one clip and 25
segments x 10 crops. A test writes both, and pictures that show where a network is good and where it is not.

Two networks are tested here, without any training: none has to be downloaded either, as the package brings the
weights of a small one.
"""
# %%
# Videos that the network has never seen
# --------------------------------------
# The classes of these generated videos are direction and speed of what scrolls. The second set scrolls more slowly than
# anything in the network's training: its videos have twice as many frames for the same way.
import json
import os
import shlex
import tempfile
from pathlib import Path

from gluon_action.cli.main import main

os.chdir(tempfile.mkdtemp())


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


gluon_action('make-demo-data demo_motion --root usual --seed 7 --train-per-class 1 --val-per-class 8')
gluon_action('make-demo-data demo_motion --root slow --seed 7 --train-per-class 1 --val-per-class 8 --num-frames 48')

# %%
# One command a test
# ------------------
# ``--use-pretrained`` takes the published weights; the folder of a training run would stand there instead, and what
# is not given would be as it was in that run.
NETWORK = 's3dg_small_demo_motion --use-pretrained --dataset demo_motion -j 0'
gluon_action(f'test --model {NETWORK} --data-dir usual/demo_motion --save-dir tests/usual --new-height 0 --new-width 0')

# %%
# ``results.json`` holds the number, and everything that it depends on.
usual = json.loads(Path('tests/usual/results.json').read_text())
print(json.dumps({name: value for name, value in usual.items() if not isinstance(value, (dict, list))}, indent=1))
print(json.dumps(usual['protocol'], indent=1)[:900])

# %%
# What is taken for what
# ----------------------
# The slower videos: their directions are still right, their speeds are not.
gluon_action(f'test --model {NETWORK} --data-dir slow/demo_motion --save-dir tests/slow --new-height 0 --new-width 0')
slow = json.loads(Path('tests/slow/results.json').read_text())
pictures = ['tests/slow/confusion_matrix.png']

# %%
# The most frequent confusions as text, and the accuracy of each class.
print(Path('tests/slow/top_confusions.txt').read_text())
pictures = ['tests/slow/per_class_accuracy.png']

# %%
# More views
# ----------
# Several clips of a video and several crops of its frames, whose scores are averaged. It is another protocol, and so
# another number: the two are not to be compared with each other, but each with others of its kind.
gluon_action(f'test --model {NETWORK} --data-dir slow/demo_motion --save-dir tests/views --num-segments 3 --three-crop '
             '--new-height 0 --new-width 0')
views = json.loads(Path('tests/views/results.json').read_text())
for name, result in (('usual', usual), ('slow', slow), ('slow, 3 x 3 views', views)):
    print(f'{name:<20} top-1 {100 * result["top1"]:.1f} % of {result["n_scored"]} videos')
