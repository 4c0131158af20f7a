"""
Features of videos, and a classifier on them
============================================

Few labelled videos, many classes to try, no time to train a network: take the numbers that a trained network makes of
each video just before its classifier, and learn a linear classifier on them. That takes milliseconds, and shows at once
whether the videos can be told apart at all.
"""
# %%
# Videos
# ------
# Four classes that the network of the package was not trained for: two colours times two directions.
import os
import shlex
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo

os.chdir(tempfile.mkdtemp())
demo = make_demo('demo_two_stream', 'videos', train_per_class=10, val_per_class=10, num_frames=16)


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


# %%
# Features
# --------
# One vector a video, the mean over the clips that slide over it; ``--window 2`` would give one for every two seconds,
# with its times. ``--layer`` takes another layer, ``--list-layers`` names them.
gluon_action('extract-features s3dg_small_demo_motion videos/videos --use-pretrained --out features')
print(*Path('features/index.csv').read_text().splitlines()[:4], sep='\n')

# %%
# Every video has a file of its name; the class is the folder that it lies in.
files = sorted(Path('features').rglob('*.npz'))
features = np.stack([np.load(path)['features'].reshape(-1) for path in files])
labels = np.array([demo.classes.index(path.parent.name) for path in files])
print(features.shape, 'features of', len(demo.classes), 'classes:', ', '.join(demo.classes))

# %%
# A linear classifier
# -------------------
# Ridge regression on one-hot labels, on the training videos of the list; the others test it.
names = {line.split()[0] for line in demo.train_list.read_text().splitlines()}
of_training = np.array([f'{path.parent.name}/{path.stem}.mp4' in names for path in files])
scaled = (features - features[of_training].mean(0)) / (features[of_training].std(0) + 1e-6)
known, targets = scaled[of_training], np.eye(len(demo.classes))[labels[of_training]]
weights = np.linalg.solve(known.T @ known + 10 * np.eye(known.shape[1]), known.T @ targets)
predicted = (scaled @ weights).argmax(1)
accuracy = float((predicted == labels)[~of_training].mean())
print(f'{of_training.sum()} videos to learn from; of {(~of_training).sum()} others {100 * accuracy:.0f} % are right, '
      f'chance is {100 / len(demo.classes):.0f} %')

# %%
# Look at them
# ------------
# The two directions of largest variance. What lies apart here, any classifier can tell.
_, _, axes_of_variance = np.linalg.svd(scaled[of_training], full_matrices=False)
places = scaled @ axes_of_variance[:2].T
figure, axes = plt.subplots(figsize=(5.5, 4))
for label, name in enumerate(demo.classes):
    axes.scatter(*places[labels == label].T, label=name, s=24)
axes.set(xlabel='first principal component', ylabel='second')
axes.legend()
figure.tight_layout()
