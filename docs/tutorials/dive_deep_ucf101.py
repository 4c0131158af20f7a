"""
Dive deep into training TSN models on UCF101
============================================

Action recognition is classification of videos: what is being done in this clip? This page builds the training of a
temporal segment network [Wang16]_ from its parts, so that you can change any of them. If you only want to train, the
script does all of this and more:

.. code-block:: sh

    # VGG16 on single frames
    python scripts/train_recognizer.py --model vgg16_ucf101 --num-classes 101 --num-gpus 8 --lr-mode step --lr 0.001 \\
        --lr-decay 0.1 --lr-decay-epoch 30,60,80 --num-epochs 80

    # the same with three temporal segments
    python scripts/train_recognizer.py --model vgg16_ucf101 --num-classes 101 --num-gpus 8 --num-segments 3 --use-tsn \\
        --lr-mode step --lr 0.001 --lr-decay 0.1 --lr-decay-epoch 30,60,80 --num-epochs 80

The names are GluonCV's: a script written for it runs here when ``gluoncv`` is replaced by ``gluon_action``.
"""
# %%
# Libraries
# ---------
# Once ``gluon_action`` is installed, MXNet can be imported with a numpy of today, in any order.
import time

import mxnet as mx
from mxnet import autograd as ag
from mxnet import gluon
from mxnet.gluon.data.vision import transforms

import gluon_action as gcv
from gluon_action.data import ucf101
from gluon_action.data.dataloader import tsn_mp_batchify_fn
from gluon_action.data.demo.make import make_demo
from gluon_action.data.transforms import video
from gluon_action.model_zoo import get_model
from gluon_action.utils import TrainingHistory, split_and_load

print('gluon_action', gcv.__version__, 'on MXNet', mx.__version__)

# %%
# The network
# -----------
# A temporal segment network divides a video into segments, takes a frame from each, scores the frames one by one with
# the same 2-D network, and lets the segments agree on one score: the *consensus*, here their average. It sees the whole
# length of the video at the price of a few frames.
#
# ``tsn=True`` wraps VGG16 in such a consensus. Leave out ``pretrained_base=False`` to start from ImageNet weights,
# which are downloaded; that is what you want on real videos.
net = get_model(name='vgg16_ucf101', nclass=101, tsn=True, num_segments=3, pretrained_base=False)
print(net)

# %%
# VGG16 has 138 million parameters and does not learn from scratch in a minute. To see learning on this page, without
# a download and without a GPU, we continue with ResNet-18 and frames of 64 pixels, without dropout, which is against
# learning small data by heart and slows down the first epochs. On a machine with GPUs the contexts would be
# ``[mx.gpu(i) for i in range(num_gpus)]``.
ctx = [mx.cpu(0)]
demo = make_demo('demo_appearance', 'demo_data/tutorial', train_per_class=12, val_per_class=2)
net = get_model('resnet18_v1b_ucf101', nclass=len(demo.classes), tsn=True, num_segments=3, pretrained_base=False,
                dropout_ratio=0)
net.collect_params().reset_ctx(ctx)
net.hybridize()
print(len(demo.classes), 'classes:', ', '.join(demo.classes))

# %%
# Augmentation
# ------------
# A clip is augmented as one: a crop that jumped from frame to frame would destroy the motion. Each transform draws once
# and treats all frames alike [Wang15]_.
transform_train = transforms.Compose([
    # a crop whose sides are 1, 0.875, 0.75 or 0.66 of the shorter one, resized to the network's input
    video.VideoMultiScaleCrop(size=(64, 64), scale_ratios=[1.0, 0.875, 0.75, 0.66]),
    video.VideoRandomHorizontalFlip(),
    # height x width x channel of 0..255 to channel x height x width of 0..1
    video.VideoToTensor(),
    video.VideoNormalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])

# %%
# Data
# ----
# ``UCF101`` reads lists in UCF101's format or GluonCV's. Here it gets the list of a small data set that
# was generated above: real H.264 files, in whose pictures a shape decides the class.
per_device_batch_size = 8
batch_size = per_device_batch_size * len(ctx)
train_dataset = ucf101.classification.UCF101(root=str(demo.video_dir), setting=str(demo.train_list), train=True,
                                             num_segments=3, transform=transform_train)
print(f'Load {len(train_dataset)} training samples.')

# %%
# One sample has the shape segments x 3 x height x width. A batch strings the segments of all its videos together, so
# they are concatenated, not stacked: that is what ``tsn_mp_batchify_fn`` does.
train_data = gluon.data.DataLoader(train_dataset, batch_size=batch_size, shuffle=True, num_workers=2,
                                   batchify_fn=tsn_mp_batchify_fn)

# %%
# Optimizer, loss and metric
# --------------------------
# The rate decides. With 0.001, which suits a network that starts from ImageNet, this one moves slowly; with 0.01 its
# loss, on batches of 8 videos, does not come down in the epochs below.
trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.003, 'wd': 0.0001, 'momentum': 0.9})
loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
train_metric = mx.metric.Accuracy()
train_history = TrainingHistory(['training-acc'])

# %%
# Training
# --------
# ``split_and_load`` shares a batch out to the devices. ``multiplier=3`` keeps the three segments of a video together.
# Who guesses is right once in eight times, and has a loss of log 8 = 2.08 a video.
epochs = 6
for epoch in range(epochs):
    tic = time.time()
    train_metric.reset()
    train_loss = 0.
    for batch in train_data:
        data = split_and_load(batch[0], ctx_list=ctx, batch_axis=0, even_split=False, multiplier=3)
        label = split_and_load(batch[1], ctx_list=ctx, batch_axis=0, even_split=False)
        with ag.record():
            output = [net(x) for x in data]
            losses = [loss_fn(scores, y) for scores, y in zip(output, label)]
        ag.backward(losses)
        trainer.step(len(batch[1]))
        train_loss += sum(part.sum().asscalar() for part in losses)
        train_metric.update(label, output)
    name, accuracy = train_metric.get()
    train_history.update([accuracy])
    loss = train_loss / len(train_dataset)
    print(f'[Epoch {epoch}] train={accuracy:.3f} loss={loss:.3f} time: {time.time() - tic:.1f}')

# %%
# The history is kept by label, and drawn in one line.
train_history.plot()

# %%
# From here
# ---------
# ``scripts/train_recognizer.py`` adds what a long run needs: validation, logs, checkpoints that a killed run resumes
# from exactly, several devices. ``scripts/test_recognizer.py`` scores the result over segments and crops.
#
# .. rubric:: References
#
# .. [Wang15] Limin Wang, Yuanjun Xiong, Zhe Wang, Yu Qiao. Towards Good Practices for Very Deep Two-Stream ConvNets.
#    arXiv:1507.02159, 2015.
# .. [Wang16] Limin Wang, Yuanjun Xiong, Zhe Wang, Yu Qiao, Dahua Lin, Xiaoou Tang, Luc Van Gool. Temporal Segment
#    Networks: Towards Good Practices for Deep Action Recognition. ECCV 2016, arXiv:1608.00859.
