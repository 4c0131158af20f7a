import math
import os
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from forking import Copy

# The code of GluonCV's tutorial "Dive Deep into Training TSN models on UCF101", with gluoncv replaced by gluon_action,
# mx.gpu by mx.cpu, two loader workers, and no ImageNet weights, which would have to be downloaded.
TUTORIAL = '''
from __future__ import division

import argparse, time, logging, os, sys, math

import numpy as np
import mxnet as mx
import gluon_action as gcv
from mxnet import gluon, nd, init, context
from mxnet import autograd as ag
from mxnet.gluon import nn
from mxnet.gluon.data.vision import transforms

from gluon_action.data.transforms import video
from gluon_action.data import ucf101
from gluon_action.model_zoo import get_model
from gluon_action.utils import makedirs, LRSequential, LRScheduler, split_and_load, TrainingHistory
from gluon_action.data.dataloader import tsn_mp_batchify_fn

num_gpus = 1
ctx = [mx.cpu(i) for i in range(num_gpus)]

net = get_model(name='vgg16_ucf101', nclass=101, tsn=True, num_segments=3, pretrained_base=False)
net.collect_params().reset_ctx(ctx)
print(net)

transform_train = transforms.Compose([
    video.VideoMultiScaleCrop(size=(224, 224), scale_ratios=[1.0, 0.875, 0.75, 0.66]),
    video.VideoRandomHorizontalFlip(),
    video.VideoToTensor(),
    video.VideoNormalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
])

per_device_batch_size = 25
num_workers = 2
batch_size = per_device_batch_size * num_gpus

train_dataset = ucf101.classification.UCF101(train=True, num_segments=3, transform=transform_train)
print('Load %d training samples.' % len(train_dataset))

train_data = gluon.data.DataLoader(train_dataset, batch_size=batch_size,
                                   shuffle=True, num_workers=num_workers, batchify_fn=tsn_mp_batchify_fn)

lr_decay = 0.1
lr_decay_epoch = [30, 60, np.inf]

optimizer = 'sgd'
optimizer_params = {'learning_rate': 0.001, 'wd': 0.0001, 'momentum': 0.9}

trainer = gluon.Trainer(net.collect_params(), optimizer, optimizer_params)

loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()

train_metric = mx.metric.Accuracy()
train_history = TrainingHistory(['training-acc'])

epochs = 3
lr_decay_count = 0

for epoch in range(epochs):
    tic = time.time()
    train_metric.reset()
    train_loss = 0

    if epoch == lr_decay_epoch[lr_decay_count]:
        trainer.set_learning_rate(trainer.learning_rate*lr_decay)
        lr_decay_count += 1

    for i, batch in enumerate(train_data):
        data = split_and_load(batch[0], ctx_list=ctx, batch_axis=0, multiplier=3)
        label = split_and_load(batch[1], ctx_list=ctx, batch_axis=0)

        with ag.record():
            output = [net(X) for X in data]
            loss = [loss_fn(yhat, y) for yhat, y in zip(output, label)]

        for l in loss:
            l.backward()

        trainer.step(batch_size)

        train_loss += sum([l.sum().asscalar() for l in loss])
        train_metric.update(label, output)

    name, acc = train_metric.get()

    train_history.update([acc])
    print('[Epoch %d] train=%f loss=%f time: %f' %
        (epoch, acc, train_loss, time.time()-tic))

train_history.plot()
'''


@pytest.fixture(scope='module')
def home(demo_appearance, tmp_path_factory):
    """A home directory with videos where the tutorial looks for UCF101: one of each class."""
    home = tmp_path_factory.mktemp('home')
    folder = home / '.mxnet' / 'datasets' / 'ucf101'
    (folder / 'ucfTrainTestlist').mkdir(parents=True)
    (folder / 'rawframes').symlink_to(demo_appearance.video_dir)
    first = {line.split()[-1]: line for line in reversed(demo_appearance.train_list.read_text().splitlines())}
    (folder / 'ucfTrainTestlist' / 'ucf101_train_split_1_rawframes.txt').write_text('\n'.join(first.values()))
    return home


@pytest.mark.parametrize('model, side, learns', [
    ('resnet18_v1b_ucf101', 48, True),  # the tutorial's VGG16 at 224 takes a minute
    # Three steps at its dropout of 0.9 do not lead VGG16 away from guessing.
    pytest.param('vgg16_ucf101', 224, False, marks=pytest.mark.slow)])
def test_the_tutorial_runs_line_for_line(home, tmp_path, model, side, learns):
    def follow():
        os.environ.pop('MXNET_HOME', None)
        os.chdir(tmp_path)
        exec(compile(code, 'tutorial', 'exec', dont_inherit=True), {'__name__': '__main__'})

    code = TUTORIAL.replace('vgg16_ucf101', model).replace('size=(224, 224)', f'size=({side}, {side})')
    program = Copy(follow, environment={'HOME': str(home), 'MPLBACKEND': 'Agg'})
    output = program.communicate()[0]
    assert program.returncode == 0, output
    lines = output.splitlines()
    assert 'Load 8 training samples.' in lines and '(tsn_consensus): Consensus(' in map(str.strip, lines)
    epochs = [line.split() for line in lines if line.startswith('[Epoch')]
    assert [words[1] for words in epochs] == ['0]', '1]', '2]']
    losses = [float(words[3].removeprefix('loss=')) for words in epochs]
    guessing = 8 * math.log(101)
    assert 0 < losses[-1] < losses[0] if learns else losses == pytest.approx([guessing] * 3, rel=0.02)


PAGE = Path(__file__).parents[2] / 'docs' / 'tutorials' / 'dive_deep_ucf101.py'


@pytest.mark.slow
def test_our_own_page_learns_and_leaves_its_plot(tmp_path, monkeypatch, capsys):
    plt.close('all')
    monkeypatch.chdir(tmp_path)
    page = runpy.run_path(str(PAGE))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('[Epoch')]
    losses = [float(re.search(r'loss=([\d.]+)', line)[1]) for line in lines]
    guessing = len(page['demo'].classes)
    assert len(losses) == page['epochs'] and min(losses[-2:]) < 0.9 * math.log(guessing), lines
    assert page['accuracy'] > 1.5 / guessing, lines
    assert plt.get_fignums()  # the gallery shows what is open
    plt.close('all')
