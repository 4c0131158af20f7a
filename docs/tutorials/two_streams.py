"""
Two streams: what one network cannot see
========================================

A network of single frames knows colours and shapes; a network of optical flow [Simonyan14]_ knows where things move,
and no colours. The four classes of these generated videos are two colours times two directions, so that neither
network can tell them all, and the sum of their scores can. It is trained here in a minute on small networks; with
larger ones the commands are the same.
"""
# %%
# Videos and their flow
# ---------------------
# Flow is computed once and kept as pictures; the list of the videos serves both streams.
import json
import os
import shlex
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo

os.chdir(tempfile.mkdtemp())
demo = make_demo('demo_two_stream', 'videos', train_per_class=24, val_per_class=8, size=32, num_frames=12)


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


gluon_action('extract-flow videos/videos --out flow --method farneback --short-side 0 --bound 4 -j 0 --preview')
pictures = [str(next(Path('flow').rglob('preview.png')))]

# %%
# A small network of one's own
# ----------------------------
# The zoo's network for flow is I3D, which wants a GPU. This one takes seconds, and shows how a network joins the zoo: a
# block, and a card that says what it takes. From then on every command knows its name.
from mxnet import gluon

from gluon_action.model_zoo import ModelCard, register_model
from gluon_action.model_zoo.recognizer import Recognizer
from gluon_action.nn import BatchNorm


class SmallClips(Recognizer):
    """Two convolutions over time and place, and the mean of what they find."""

    def __init__(self, nclass, dropout_ratio, channels, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = nclass
        self.body = gluon.nn.HybridSequential()
        for filters, size in ((16, 5), (24, 3)):
            self.body.add(gluon.nn.Conv3D(filters, (3, size, size), (2, 2, 2), (1, size // 2, size // 2),
                                          in_channels=channels, use_bias=False), BatchNorm(ndim=5),
                          gluon.nn.Activation('relu'))
            channels = filters
        self.body.add(gluon.nn.GlobalAvgPool3D(), gluon.nn.Flatten(), gluon.nn.Dropout(dropout_ratio))
        self.output = gluon.nn.Dense(nclass, in_units=24)

    def hybrid_forward(self, F, x):
        """Return scores (N, K) of clips (N, C, T, H, W)."""
        return self.output(self.body(x))


def join_the_zoo(name, channels, **look):
    """Register the network under a name."""
    @register_model(ModelCard.of_clips(name, family='Small', dataset='custom', clip_length=8, dropout_ratio=0.1,
                                       bn_momentum=0.9, channels=channels, **look))
    def build(nclass, *, tsn, consensus, num_segments, num_crop, **options):
        return SmallClips(nclass, channels=channels, **options)


# Stored flow has 0..255 with 128 for no motion; both networks get -1..1.
join_the_zoo('small_flow_custom', 2, mean=(128 / 255,) * 2, std=(127 / 255,) * 2, modality='flow')
join_the_zoo('small_rgb_custom', 3, mean=(0.5,) * 3, std=(0.5,) * 3)

# %%
# Train both
# ----------
# The one on frames that are 8 apart, of which it sees one and another; the other on the flow between neighbouring
# frames. ``--data-dir`` is what differs: where the videos are, or where their flow is.
TRAINING = ('--dataset custom --no-pretrained-base --input-size 32 --data-aug v3 --new-height 32 --new-width 42 '
            '--flip-prob 0 --optimizer adam --lr 0.01 --warmup-epochs 1 --lr-mode cosine --batch-size 16 '
            f'--num-epochs 5 --train-list {demo.train_list} --val-list {demo.val_list} -j 0 --log-interval 0')
gluon_action(f'train --model small_rgb_custom --new-length 2 --new-step 8 --data-dir videos/videos {TRAINING} '
             '--save-dir runs/rgb')
gluon_action(f'train --model small_flow_custom --new-length 8 --data-dir flow {TRAINING} --save-dir runs/flow')
pictures = ['runs/flow/history.png']

# %%
# Test both, and add up their scores
# ----------------------------------
# ``fuse-scores`` matches the videos of the reports by name, and reports the sum as it would a test.
gluon_action('test runs/rgb --save-dir tests/rgb -j 0')
gluon_action('test runs/flow --save-dir tests/flow -j 0')
gluon_action('fuse-scores tests/rgb tests/flow --save-dir tests/both')

# %%
# What each stream was worth
# --------------------------
# Each by itself knows half of the question. Half the classes of the one are what the other can tell.
top1 = {name: json.loads(Path('tests', name, 'results.json').read_text())['top1'] for name in ('rgb', 'flow', 'both')}
figure, axes = plt.subplots(figsize=(5, 3.2))
bars = axes.bar(['colours (RGB)', 'directions (flow)', 'both, added up'], [100 * value for value in top1.values()],
                color=['#0b61a4', '#d95f02', '#1b9e77'])
axes.bar_label(bars, fmt='%.0f %%')
axes.set(ylabel='top-1, %', ylim=(0, 110))
figure.tight_layout()

# %%
# Each confuses what it cannot see: the network of colours takes up for down.
pictures = ['tests/rgb/confusion_matrix.png', 'tests/both/confusion_matrix.png']

# %%
# .. [Simonyan14] Karen Simonyan and Andrew Zisserman. Two-Stream Convolutional Networks for Action Recognition in
#    Videos. NeurIPS 2014, arXiv:1406.2199.
