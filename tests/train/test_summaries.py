"""Distributions, pictures and numbers for TensorBoard: what they say, when they come, that nothing else changes."""
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from events import events_of, scalars_of
from inception import few_blocks
from loops import Batches, FailingBatches, make_loop, make_net, same, weights
from PIL import Image
from tensorboardX.proto.event_pb2 import SessionLog

from gluon_action import model_zoo
from gluon_action.compute.on_mxnet.activations import endpoints_of, outputs_of
from gluon_action.data.flow.methods import flow_colors
from gluon_action.errors import OutputError, UsageError
from gluon_action.train.hook import Hook
from gluon_action.train.loop import Loop
from gluon_action.train.run.history.event_file import EventFile
from gluon_action.train.run.history.log import RunLog
from gluon_action.train.run.history.summaries import Summaries


def values_of(folder):
    """(tag, step) -> summary value."""
    return {(value.tag, event.step): value for event in events_of(folder) for value in event.summary.value}


def steps_of(folder, tag):
    return [step for name, step in values_of(folder) if name == tag]


def picture_of(value):
    return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))


def spread(values, limits):
    """Counts of values in the bars of a histogram that end at `limits`."""
    return np.histogram(values, bins=np.concatenate([[-np.inf], limits]))[0]


def as_histogram(value, values, rel=0):
    histogram, values = value.histo, np.ravel(values).astype(float)
    assert histogram.num == values.size and sum(histogram.bucket) == values.size
    assert (histogram.min, histogram.max) == pytest.approx((values.min(), values.max()), rel=rel, abs=0)
    assert histogram.sum == pytest.approx(values.sum()) and histogram.sum_squares == pytest.approx((values ** 2).sum())
    counts = spread(np.nextafter(values, np.inf), histogram.bucket_limit)
    assert abs(counts - np.array(histogram.bucket)).sum() <= 2  # a value on a limit may count on either side
    return True


class Keep(Hook):
    """Parameters and batch before each step."""

    def __init__(self):
        self.weights, self.batches = [], []

    def on_batch(self, loop, batch):
        self.weights.append(weights(loop))
        self.batches.append(batch)


def fit(folder, *, every=4, loop=None, epochs=1, batches=None, more=(), **options):
    folder.mkdir(exist_ok=True)
    loop = loop or make_loop()
    hooks = [Summaries(EventFile(folder), every=every, **{'mean': (0.5,) * 3, 'std': (0.2,) * 3, **options}), *more]
    loop.fit(batches or Batches(), epochs=epochs, hooks=hooks)
    return loop


@dataclass
class Run:
    loop: Loop
    folder: Path
    values: dict
    keep: Keep
    untrained: np.ndarray


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Two epochs of six batches and a validation, recorded as training does, summarised every four steps."""
    folder, keep, loop = tmp_path_factory.mktemp('run'), Keep(), make_loop()
    untrained = loop.learner.net(mx.nd.array(next(Batches().epoch(0)).data)).asnumpy()
    records = RunLog(folder, log_interval=0, bar=False)
    summaries = Summaries(
        records.events, every=4, mean=(0.5,) * 3, std=(0.2,) * 3, images=3,
        scalars=lambda loop, result: {'Losses/total_loss': result.loss_sum / result.count},
        epoch_scalars=lambda loop, record: {'Metrics/eval/auc': record['val_top1']})
    loop.fit(Batches(), Batches(shuffle=False), epochs=2, hooks=[records, summaries, keep])
    return Run(loop, folder, values_of(folder), keep, untrained)


def test_every_parameter_has_a_histogram_of_its_values(run):
    names = list(run.loop.learner.parameters())
    assert len(names) == 7 and sum('running' in name for name in names) == 2
    for name in names:
        assert steps_of(run.folder, name.replace('.', '/')) == [0, 4, 8]
        for step in (0, 4, 8):
            assert as_histogram(run.values[name.replace('.', '/'), step], run.keep.weights[step][name])


def test_activations_are_those_of_scoring_the_first_sample(run):
    names = list(run.loop.learner.net._children)
    assert len(names) == 6 and all(steps_of(run.folder, f'activations/{name}') == [0, 4, 8] for name in names)
    assert as_histogram(run.values[f'activations/{names[-1]}', 0], run.untrained[:1], rel=1e-5)
    relu, dropout = (run.values[f'activations/{name}', 0].histo for name in names[2:4])
    assert relu.min == 0 and list(relu.bucket) == list(dropout.bucket)  # nothing is dropped


def test_sparsity_is_the_share_of_zeros(run):
    convolution, _, relu, *_ = run.loop.learner.net._children
    assert run.values[f'sparsity/{convolution}', 0].simple_value == 0
    share, histogram = run.values[f'sparsity/{relu}', 0].simple_value, run.values[f'activations/{relu}', 0].histo
    positive = sum(n for n, limit in zip(histogram.bucket, histogram.bucket_limit) if limit > 1e-9)
    assert 0.2 < share < 0.8 and share == pytest.approx(1 - positive / histogram.num)


def test_images_are_the_middle_frames_with_their_normalisation_undone(run):
    assert {tag for tag, _ in run.values if tag.startswith('images/')} == {'images/0', 'images/1', 'images/2'}
    for number in range(3):
        frame = run.keep.batches[4].data[number]
        expected = np.rint(255 * np.clip(frame * np.float32(0.2) + np.float32(0.5), 0, 1)).transpose(1, 2, 0)
        assert (picture_of(run.values[f'images/{number}', 4]) == expected).all()


def test_the_callers_numbers_are_written_under_their_tags(run):
    assert steps_of(run.folder, 'Losses/total_loss') == [4, 8, 12]
    assert steps_of(run.folder, 'Metrics/eval/auc') == [6, 12]
    top1 = run.loop.progress.history[1]['val_top1']
    assert run.values['Metrics/eval/auc', 12].simple_value == pytest.approx(top1)
    assert run.values['Losses/total_loss', 8].simple_value == run.values['train_loss_iter', 7].simple_value


def test_one_file_holds_what_both_hooks_write(run):
    assert len(list(run.folder.glob('events.out.tfevents.*'))) == 1
    assert {'train_loss_iter', 'val_acc_top1_epoch', 'images/0'} <= {tag for tag, _ in run.values}


def test_training_is_the_same_with_summaries_as_without(tmp_path):
    alone = make_loop()
    alone.fit(Batches(), epochs=1)
    assert same(weights(fit(tmp_path, every=1)), weights(alone))


def test_the_compiled_graph_is_kept(tmp_path):
    loop = make_loop()
    loop.learner.net(mx.nd.array(next(Batches().epoch(0)).data))
    graph = loop.learner.net._cached_op
    fit(tmp_path, loop=loop)
    assert graph is not None and loop.learner.net._cached_op is graph and loop.learner.net._active
    assert not any(block._forward_hooks for block in loop.learner.net._children.values())


def test_several_devices_show_the_first_sample_and_the_first_device(tmp_path):
    keep = Keep()
    loop = fit(tmp_path, loop=make_loop(make_net(2), 2), more=[keep])
    values = values_of(tmp_path)
    for name in loop.learner.parameters():
        assert as_histogram(values[name.replace('.', '/'), 4], keep.weights[4][name])


def test_segments_of_a_sample_go_together(tmp_path):
    loop = make_loop(make_net(rows=2), rows_per_sample=2)
    fit(tmp_path, loop=loop, batches=Batches(rows=2), every=6)
    last = list(loop.learner.net._children)[-1]
    assert values_of(tmp_path)[f'activations/{last}', 0].histo.num == 3


def test_a_batch_without_samples_is_passed_over(tmp_path):
    fit(tmp_path, batches=FailingBatches(count=8, missing=(0, 1, 2, 3), shuffle=False), every=1)
    assert {step for tag, step in values_of(tmp_path) if tag.startswith('images/')} == {1}


@pytest.mark.parametrize('option, gone', [('parameters', 'weight'), ('activations', 'activations/'),
                                          ('images', 'images/')])
def test_each_kind_can_be_left_out(tmp_path, option, gone):
    batches = Batches(count=4)
    fit(tmp_path / 'all', batches=batches)
    fit(tmp_path / 'less', batches=batches, **{option: 0})
    tags = [{tag for tag, _ in values_of(tmp_path / name)} for name in ('all', 'less')]
    assert tags[1] < tags[0] and any(gone in tag for tag in tags[0]) and not any(gone in tag for tag in tags[1])


def test_a_run_that_goes_on_takes_back_what_came_later(tmp_path):
    events = EventFile(tmp_path)
    events.begin(0)
    events.scalars(9, {'a': 1.0})
    events.begin(6)
    events.close()
    assert [event.step for event in events_of(tmp_path) if event.session_log.status == SessionLog.START] == [6]


def test_a_run_that_starts_twice_in_a_second_keeps_what_it_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr('time.time', lambda: 1796066856.5)
    for step in (1, 2):
        events = EventFile(tmp_path)
        events.scalars(step, {'a': 1.0})
        events.close()
    assert sorted(step for _, step, _ in scalars_of(tmp_path)) == [1, 2]


def test_tags_stay_as_they_are(tmp_path):
    """tensorboardX would make Hit_1 of it, under which nobody looks."""
    events = EventFile(tmp_path)
    events.scalars(3, {'model/Training_Hit@1': 0.5})
    events.close()
    assert scalars_of(tmp_path) == [('model/Training_Hit@1', 3, 0.5)]


def test_a_file_says_first_which_format_it_has(tmp_path):
    events = EventFile(tmp_path)
    events.scalars(3, {'a': 1.0})
    events.close()
    assert [(event.file_version, event.step) for event in events_of(tmp_path)] == [('brain.Event:2', 0), ('', 3)]


def test_events_are_written_by_what_tensorboardx_gives_out():
    assert 'event_file_writer' not in Path(sys.modules[EventFile.__module__].__file__).read_text()


def test_values_that_are_not_finite_do_not_end_training(tmp_path):
    loop = make_loop()
    statistics = next(param for name, param in loop.learner.net.collect_params().items() if 'running_mean' in name)
    statistics.set_data(mx.nd.array([np.nan, np.inf, 1e30, *[0] * 5]))
    fit(tmp_path, loop=loop)
    values = values_of(tmp_path)
    key = next(name for name in loop.learner.parameters() if 'running_mean' in name)
    assert values[key.replace('.', '/'), 0].histo.num == 6


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match='every 1 or more steps'):
        Summaries(EventFile(tmp_path), every=0)
    with pytest.raises(UsageError, match=r"no endpoint 'Mixed_9z': of 'Mixed_9z' there is no block; the blocks there "
                                         'are 0, 1, 2'):
        fit(tmp_path, endpoints=['Mixed_9z'])
    with pytest.raises(OutputError, match='cannot write the events in .*missing: No such file'):
        EventFile(tmp_path / 'missing').scalars(0, {'a': 1.0})


# Networks of the zoo.

def i3d(stream='rgb'):
    mx.random.seed(1)
    net = model_zoo.get_model(f'i3d_{stream}_custom', nclass=3, pretrained_base=False, input_size=32, clip_length=8)
    net.hybridize()
    return net


@pytest.fixture(scope='module')
def net():
    return i3d()


def test_endpoints_of_i3d_have_deepminds_names(net):
    blocks = endpoints_of(net)
    assert list(blocks) == list(net.endpoints) and blocks['Mixed_5c'] is net.Mixed_5c
    inner = endpoints_of(net, ['Mixed_3b.Branch_1.Conv3d_0a_1x1'])
    assert list(inner.values()) == [net.Mixed_3b.Branch_1.Conv3d_0a_1x1]


def test_outputs_of_i3d_are_those_of_its_stages(net):
    clip = mx.nd.array(np.random.default_rng(0).uniform(-1, 1, (1, 3, 8, 32, 32)))
    scores = net(clip).asnumpy()
    outputs = outputs_of(net, endpoints_of(net), clip)
    assert list(outputs) == list(net.endpoints)
    assert outputs['Logits'].asnumpy() == pytest.approx(scores, rel=1e-4, abs=1e-6)
    assert {name: output.shape[1] for name, output in outputs.items()}['Mixed_4b'] == 512
    assert outputs['Conv3d_1a_7x7'].shape == (1, 64, 4, 16, 16)
    assert (net(clip).asnumpy() == scores).all()


@pytest.fixture
def small_networks():
    with few_blocks():
        yield


@pytest.mark.parametrize('stream', ['rgb', 'flow'])
def test_i3d_trains_on_with_pictures_of_clips(tmp_path, small_networks, stream):
    class Clips(Batches):
        def __init__(self):
            super().__init__(count=2, size=2)
            self.data = np.random.default_rng(3).uniform(-1, 1, (2, 1, 3 if stream == 'rgb' else 2, 8, 32, 32))

    loop = make_loop(net := i3d(stream), optimizer_params={}, schedule=lambda update: 1e-4)
    keep, records = Keep(), RunLog(tmp_path, log_interval=0, bar=False)
    loop.fit(Clips(), epochs=1, hooks=[records, Summaries(records.events), keep])
    values = values_of(tmp_path)
    assert {f'activations/{name}' for name in net.endpoints} <= {tag for tag, _ in values}
    assert as_histogram(values['Conv3d_1a_7x7/conv/weight', 0], keep.weights[0]['Conv3d_1a_7x7.conv.weight'])
    frame = keep.batches[0].data[1, :, 4].transpose(1, 2, 0)
    stored = np.rint(frame * np.array(net.card.std) * 255 + np.array(net.card.mean) * 255).astype(np.uint8)
    assert abs((stored if stream == 'rgb' else flow_colors(stored)) - picture_of(values['images/1', 0]).astype(int)
               ).max() <= (1 if stream == 'rgb' else 3)
