"""
What is wrong, and why
======================

A number says how often a network is wrong, not where. The scores of every video lie in the report of a test, so that
one can look: at the videos that it took for something else, how sure it was of that, and whether it may be believed
when it is sure.
"""
# %%
# A test that does not go well
# ----------------------------
# The network of the package knows the direction and the speed of what scrolls in generated videos. These videos have
# more frames for the same way, so everything scrolls at speeds that it has never seen.
import os
import shlex
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from gluon_action.cli.main import main
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.evaluate.scores.files import read_scores

os.chdir(tempfile.mkdtemp())


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


gluon_action('make-demo-data demo_motion --root slow --seed 7 --train-per-class 1 --val-per-class 12 --num-frames 48')
gluon_action('test --model s3dg_small_demo_motion --use-pretrained --dataset demo_motion -j 0 '
             '--data-dir slow/demo_motion --save-dir report --new-height 0 --new-width 0')

# %%
# The scores of every video
# -------------------------
# ``scores.npz`` has labels and scores under the names of the list.
report = read_scores('report')
probabilities = np.exp(report.scores - report.scores.max(1, keepdims=True))
probabilities /= probabilities.sum(1, keepdims=True)
predicted, sure = probabilities.argmax(1), probabilities.max(1)
wrong = predicted != report.labels
print(f'{wrong.sum()} of {len(wrong)} videos are wrong')

# %%
# The worst first: those that it was surest of.
worst = np.flatnonzero(wrong)[np.argsort(-sure[wrong])][:6]
for row in worst:
    print(f'{report.keys[row]}: is {report.classes[report.labels[row]]}, taken for {report.classes[predicted[row]]} '
          f'with {sure[row]:.2f}')

# %%
# Look at them
# ------------
# Three frames of each. A list that is wrong shows itself here; so does a class that nobody could tell.
figure, axes = plt.subplots(len(worst), 3, figsize=(7.5, 1.75 * len(worst)))
for row, places in zip(worst, axes):
    with VideoReader(f'slow/demo_motion/videos/{report.keys[row]}') as reader:
        numbers = [0, len(reader) // 2, len(reader) - 1]
        for place, picture in zip(places, reader.read(numbers)):
            place.imshow(picture)
            place.axis('off')
    places[0].set_title(f'is {report.classes[report.labels[row]]}, taken for {report.classes[predicted[row]]} '
                        f'({sure[row]:.2f})', loc='left', fontsize=9)
figure.tight_layout()

# %%
# What kind of mistake
# --------------------
# Direction and speed by themselves: the network still knows where things go. What it lacks is speeds in its training,
# not frames, resolution, or a larger network.
names = np.array(report.classes)
same = {'direction': lambda name: 'Up' in name, 'speed': lambda name: 'Fast' in name}
shares = {what: float(np.mean([tell(names[a]) == tell(names[b]) for a, b in zip(report.labels, predicted)]))
          for what, tell in same.items()}
print({what: f'{100 * share:.0f} % right' for what, share in shares.items()})

# %%
# May it be believed when it is sure?
# -----------------------------------
# Of the videos that it gave a probability of p, a share of p should be right. Here it is sure and wrong, which is
# what networks do with inputs unlike those of their training: a threshold on the probability would not help.
edges = np.linspace(0, 1, 6)
bins = np.clip(np.digitize(sure, edges) - 1, 0, len(edges) - 2)
filled = [n for n in range(len(edges) - 1) if (bins == n).any()]
figure, axes = plt.subplots(figsize=(4.6, 4))
axes.plot([0, 1], [0, 1], linestyle=':', color='grey', label='as sure as right')
axes.bar([(edges[n] + edges[n + 1]) / 2 for n in filled], [1 - wrong[bins == n].mean() for n in filled], 0.18,
         color='#0b61a4', label='this test')
axes.set(xlim=(0, 1), ylim=(0, 1), xlabel='probability of the predicted class', ylabel='share that is right')
axes.legend()
figure.tight_layout()
