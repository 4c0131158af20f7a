import multiprocessing
import time

import mxnet as mx
import numpy as np
import pytest
import tiny
from gluoncv.data.transforms import video as oracle
from mxnet.gluon import nn

from gluon_action import model_zoo
from gluon_action.compute.on_mxnet.scorer import GluonScorer
from gluon_action.data import VideoClsCustom
from gluon_action.data.preprocess import Preprocess
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.data.transforms.functional import crop_places
from gluon_action.errors import ModelError, UsageError
from gluon_action.evaluate import views
from gluon_action.evaluate.views import score_videos

pytestmark = pytest.mark.usefixtures('tiny_network')
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def small_net(dims, classes=5, seed=0):
    mx.random.seed(seed)
    conv, pool = (nn.Conv2D, nn.GlobalMaxPool2D) if dims == 2 else (nn.Conv3D, nn.GlobalMaxPool3D)
    net = nn.HybridSequential()
    net.add(conv(8, 3, strides=2, activation='relu'), pool(), nn.Flatten(), nn.Dense(classes))
    net.initialize(mx.init.Normal(0.5))
    net.hybridize()
    return net


def videos_of(demo, **options):
    defaults = dict(train=False, test_mode=True, new_width=86, new_height=64)
    return VideoClsCustom(str(demo.video_dir), str(demo.val_list), **{**defaults, **options})


def looks(size, crops=1, length=1, short_side=0, **fields):
    """Squares of frames that are read at the size they are cut from, or brought to a short side."""
    return Preprocess(**{'layout': 'NCTHW' if length > 1 else 'NCHW', 'offsets': tuple(range(length)), 'crops': crops,
                         'crop': (size, size), 'resize': {'short_side': short_side} if short_side else {},
                         'mean': MEAN, 'std': STD, **fields})


def naive_scores(net, dataset, index, crops, size, short_side=0, average='scores', time_axis=False):
    """View by view, through GluonCV's own transforms."""
    scores, frames = [], dataset.load_frames(index)
    length = len(frames) // dataset.num_segments
    for segment in range(dataset.num_segments):
        for crop in range(crops):
            clip = list(frames[segment * length:(segment + 1) * length])
            if short_side:
                clip = oracle.ShortSideRescale(short_side)(clip)
            if crops == 1:
                clip = oracle.VideoCenterCrop(size)(clip)
            elif crops == 3:
                clip = oracle.VideoThreeCrop(size)(clip)[crop * length:(crop + 1) * length]
            else:
                clip = oracle.VideoTenCrop(size)(clip)[crop::10]
            clip = oracle.VideoNormalize(MEAN, STD)(oracle.VideoToTensor()(clip))
            view = np.stack(clip, axis=1)[None]
            if length == 1 and not time_axis:
                view = view[:, :, 0]
            output = net(mx.nd.array(view))
            scores.append((output.softmax() if average == 'probabilities' else output).asnumpy()[0])
    return np.mean(np.asarray(scores, np.float64), axis=0)


# segments, crops, frames, batch size, workers, average: published protocols, and batches that fit nothing
PROTOCOLS = [
    (25, 10, 1, 32, 2, 'scores'),
    (25, 1, 1, 7, 0, 'scores'),
    (25, 1, 1, 32, 1, 'probabilities'),
    (3, 3, 1, 4, 2, 'scores'),
    (1, 1, 1, 100, 0, 'probabilities'),
    (1, 10, 1, 1, 0, 'scores'),
    (10, 3, 4, 16, 2, 'scores'),
    (2, 10, 5, 7, 0, 'probabilities'),
    (5, 1, 3, 3, 1, 'scores'),
]


@pytest.mark.parametrize('segments, crops, length, batch, workers, average', PROTOCOLS)
def test_scores_equal_those_of_view_by_view_scoring(demo_appearance, segments, crops, length, batch, workers, average):
    net = small_net(2 if length == 1 else 3)
    short_side = 48 if crops == 3 else 0
    dataset = videos_of(demo_appearance, num_segments=segments, new_length=length)
    preprocess = looks(48, crops, length, short_side)
    indices = range(0, len(dataset), 9)
    found = score_videos(net, dataset, preprocess, batch_size=batch, average=average, num_workers=workers,
                         indices=indices)
    assert found.views == segments * crops
    assert found.scored.all() and not found.failures
    for row, index in enumerate(indices):
        expected = naive_scores(net, dataset, index, crops, 48, short_side, average)
        np.testing.assert_allclose(found.scores[row], expected, rtol=1e-5, atol=1e-5)
        assert found.keys[row] == dataset.samples[index].key and found.labels[row] == dataset.samples[index].label


def test_single_frames_can_keep_a_time_axis(demo_appearance):
    net = nn.HybridSequential()
    net.add(nn.Conv3D(4, (1, 3, 3)), nn.GlobalAvgPool3D(), nn.Flatten(), nn.Dense(3))
    net.initialize()
    dataset = videos_of(demo_appearance, num_segments=2)
    found = score_videos(net, dataset, looks(48, layout='NCTHW'), indices=[0])
    np.testing.assert_allclose(found.scores[0], naive_scores(net, dataset, 0, 1, 48, time_axis=True), atol=1e-5)


def test_value_range_mean_and_std_of_the_card_are_applied(demo_appearance):
    seen = []

    def net(x):
        seen.append(x.asnumpy())
        return x.mean(axis=(2, 3))

    dataset = videos_of(demo_appearance)
    preprocess = looks(64, mean=(0.1, 0.2, 0.3), std=(0.5, 1., 2.), value_range=(-1., 1.))
    score_videos(net, dataset, preprocess, indices=[0])
    frames = dataset.load_frames(0)[:, :, 11:75].astype(np.float64)
    expected = (frames / 255 * 2 - 1 - [0.1, 0.2, 0.3]) / [0.5, 1., 2.]
    np.testing.assert_allclose(seen[0], expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_batches_are_full_across_videos_and_devices(demo_appearance):
    rows = []

    def net(x):
        rows.append(x.shape[0])
        return x.mean(axis=(2, 3))

    dataset = videos_of(demo_appearance, num_segments=5)
    found = score_videos(net, dataset, looks(32), batch_size=8, contexts=[mx.cpu(0), mx.cpu(1)],
                         indices=range(7))
    assert found.views == 5 and found.scored.all()
    assert rows == [8, 8, 8, 8, 2, 1] or rows == [8, 8, 8, 8, 1, 2]  # 35 views


@pytest.mark.parametrize('group, times', [(1, 2 * 5), (5, 2 * 10 * 5)])
def test_a_frame_is_normalised_once_for_all_its_crops(demo_appearance, monkeypatch, group, times):
    """But where the network wants all segments of a crop, and then of the next: two crops, one a thread, at a time."""
    count, normalise = [], Preprocess._normalise
    monkeypatch.setattr(Preprocess, '_normalise', lambda *args: count.append(args) or normalise(*args))
    monkeypatch.setattr(views.engine, 'usable_cores', lambda: 1 if group == 1 else 2)
    dataset = videos_of(demo_appearance, num_segments=5)
    found = score_videos(lambda x: x.mean(axis=(2, 3)).reshape((-1, group, 3)).mean(axis=1), dataset, looks(32, 10),
                         batch_size=10, views_per_score=group, indices=[0, 1])
    assert found.scored.all() and len(count) == times


def test_views_are_cut_into_the_memory_that_the_network_reads(demo_appearance):
    scorer = GluonScorer(small_net(2), [mx.cpu()])
    assert score_videos(scorer, videos_of(demo_appearance, num_segments=3), looks(32), indices=range(5),
                        batch_size=4).scored.all()
    assert len(scorer._lent) == 2 and not scorer._inputs  # copies


def test_what_a_thread_raises_is_raised(demo_appearance, monkeypatch):
    def write(*args):
        raise UsageError('no such crop')

    monkeypatch.setattr(Preprocess, 'write', write)
    with pytest.raises(UsageError, match='no such crop'):
        score_videos(small_net(2), videos_of(demo_appearance), looks(32), indices=[0])


def test_several_devices_give_the_scores_of_one(demo_appearance):
    net = small_net(2)
    net(mx.nd.zeros((1, 3, 32, 32)))
    dataset = videos_of(demo_appearance, num_segments=3)
    one = score_videos(net, dataset, looks(32), batch_size=4)
    net.collect_params().reset_ctx([mx.cpu(0), mx.cpu(1)])
    two = score_videos(net, dataset, looks(32), batch_size=4, contexts=[mx.cpu(0), mx.cpu(1)])
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)


def test_result_does_not_depend_on_workers_or_batch_size(demo_appearance):
    net = small_net(2)
    dataset = videos_of(demo_appearance, num_segments=4)
    found = [score_videos(net, dataset, looks(32, 10), batch_size=batch, num_workers=workers).scores
             for workers, batch in ((0, 16), (1, 16), (2, 16), (4, 5))]
    assert all(np.array_equal(found[0], other) for other in found[1:3])
    np.testing.assert_allclose(found[0], found[3], atol=1e-5)


def test_by_default_two_videos_a_process_are_read_ahead(demo_appearance, monkeypatch):
    asked, given = [], views._in_order
    monkeypatch.setattr(views, '_in_order', lambda *args: asked.append(args[2:4]) or given(*args[:2], 0, 0, None))
    for prefetch in (None, 7):
        score_videos(small_net(2), videos_of(demo_appearance), looks(32), num_workers=3, prefetch=prefetch,
                     indices=[0])
    assert asked == [(3, 6), (3, 7)]


@pytest.mark.parametrize('workers, prefetch, ahead', [(1, 3, 3), (2, 5, 5), (2, 1, 2)])
def test_no_more_videos_than_prefetch_are_read_ahead(tmp_path, workers, prefetch, ahead):
    """Their frames wait in memory: a long list must not be read to its end while the first video is scored."""
    def read(index):
        (tmp_path / str(index)).touch()
        return np.zeros(1)

    def read_so_far(expected):
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # what would be read beyond that
        return {int(path.name) for path in tmp_path.iterdir()}

    videos = views._in_order(read, list(range(40)), workers, prefetch, None)
    for position in range(3):
        assert next(videos)[0] == position
        assert read_so_far(position + ahead) == set(range(position + ahead))
    videos.close()


@pytest.mark.parametrize('workers', [0, 2])
def test_every_video_is_opened_exactly_once(demo_appearance, monkeypatch, workers):
    opened = multiprocessing.Value('i', 0)
    original = VideoReader.__init__

    def counting(self, *args, **kwargs):
        with opened.get_lock():
            opened.value += 1
        original(self, *args, **kwargs)

    monkeypatch.setattr(VideoReader, '__init__', counting)
    dataset = videos_of(demo_appearance, num_segments=25)
    found = score_videos(small_net(2), dataset, looks(32, 10), num_workers=workers, indices=range(6))
    assert found.views == 250
    assert opened.value == found.decodes == 6


def test_a_video_that_cannot_be_read_is_a_failure_and_touches_no_other(demo_appearance, tmp_path):
    net = small_net(2)
    whole = videos_of(demo_appearance, num_segments=3)
    lines = demo_appearance.val_list.read_text().splitlines()
    (tmp_path / 'broken.mp4').write_bytes(b'no video' * 100)
    lines[1:1] = [f'{tmp_path / "broken.mp4"} 12 2', f'{tmp_path / "gone.mp4"} 12 3']
    lines = [line if line.startswith('/') else f'{demo_appearance.video_dir}/{line}' for line in lines]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    dataset = VideoClsCustom('/', str(tmp_path / 'list.txt'), train=False, test_mode=True, new_width=86,
                             new_height=64, num_segments=3)
    told = []
    for workers in (0, 2):
        found = score_videos(net, dataset, looks(32), num_workers=workers, batch_size=5,
                             on_video=lambda *event: told.append(event))
        assert np.flatnonzero(~found.scored).tolist() == [1, 2]
        assert np.isnan(found.scores[1:3]).all()
        assert [failure.index for failure in found.failures] == [1, 2]
        assert 'broken.mp4' in found.failures[0].message and 'list.txt' in found.failures[0].message
        np.testing.assert_allclose(np.delete(found.scores, [1, 2], axis=0),
                                   score_videos(net, whole, looks(32)).scores, atol=1e-5)
    assert [event[0] for event in told] == 2 * list(range(len(dataset)))
    assert [event[2] is None for event in told[:4]] == [False, True, True, False]


def test_a_video_that_hangs_is_a_failure_after_its_deadline(demo_appearance):
    class Hanging(VideoClsCustom):
        def load_frames(self, index):
            if index == 2:
                time.sleep(600)
            return super().load_frames(index)

    dataset = Hanging(str(demo_appearance.video_dir), str(demo_appearance.val_list), train=False, test_mode=True)
    start = time.time()
    found = score_videos(small_net(2), dataset, looks(32), num_workers=2, timeout=2, indices=range(5))
    assert time.time() - start < 30
    assert found.scored.tolist() == [True, True, False, True, True]
    assert dataset.samples[2].path in found.failures[0].message and '2 s' in found.failures[0].message


@pytest.mark.parametrize('workers, prefetch, most', [(2, 5, 5), (2, None, 4), (3, 1, 3), (1, None, 2)])
def test_no_more_videos_are_read_ahead_than_asked_for(demo_appearance, workers, prefetch, most):
    """Counted while the network computes: videos that were opened and are not scored yet."""
    opened, ahead = multiprocessing.Value('i', 0), []

    class Counted(VideoClsCustom):
        def load_frames(self, index):
            with opened.get_lock():
                opened.value += 1
            return np.zeros((1, 16, 16, 3), np.uint8)

    def net(x):
        deadline = time.monotonic() + 20
        while opened.value < min(14, len(ahead) + most) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.02 if ahead else 0.2)  # in which no more are read
        ahead.append(opened.value - len(ahead))
        return x.mean(axis=(2, 3))

    dataset = Counted(str(demo_appearance.video_dir), str(demo_appearance.val_list), train=False, test_mode=True)
    score_videos(net, dataset, looks(16), batch_size=1, num_workers=workers, prefetch=prefetch,
                 indices=range(14))
    assert len(ahead) == 14 and max(ahead) == most


def test_scores_are_told_while_others_are_computed(demo_appearance):
    """No more than two batches are on their way: what is before them is done with, and its memory free."""
    told, behind = [], []

    def net(x):
        behind.append(len(behind) - len(told))
        return x.mean(axis=(2, 3))

    score_videos(net, videos_of(demo_appearance), looks(32), batch_size=1, indices=range(8),
                 on_video=lambda *event: told.append(event))
    assert len(told) == 8 and max(behind) <= 2


def test_a_list_of_failures_only_has_no_scores(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4 5 0\nb.mp4 5 1\n')
    dataset = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), train=False, test_mode=True)
    found = score_videos(small_net(2), dataset, looks(32))
    assert found.scores.shape == (2, 0) and len(found.failures) == 2


def test_scores_that_are_not_finite_are_failures(demo_appearance):
    dataset = videos_of(demo_appearance)
    found = score_videos(lambda x: mx.nd.concat(x.mean(axis=(2, 3)), mx.nd.ones((len(x), 1)) / 0, dim=1), dataset,
                         looks(32), indices=[0, 1])
    assert not found.scored.any() and [failure.index for failure in found.failures] == [0, 1]
    assert 'not finite' in found.failures[0].message


@pytest.mark.parametrize('consensus', ['max', 'weighted'])
def test_consensus_inside_of_the_network_is_taken_over_the_segments_of_each_crop(demo_appearance, consensus):
    net = model_zoo.get_model(tiny.NAME, nclass=4, pretrained_base=False, num_segments=3, consensus=consensus,
                              input_size=32)
    if consensus == 'weighted':
        net.tsn_consensus.weight.set_data(mx.nd.array([0.2, 0.3, 0.5]).reshape((1, 3, 1)))
    dataset = videos_of(demo_appearance, num_segments=3)
    found = score_videos(net, dataset, looks(32, 10), views_per_score=3, batch_size=8, indices=[0, 3])
    for row, index in enumerate((0, 3)):
        frames = dataset.load_frames(index)
        crops = oracle.VideoTenCrop(32)(list(frames))  # frame-major
        clips = np.stack(oracle.VideoNormalize(MEAN, STD)(oracle.VideoToTensor()(crops))).astype(np.float32)
        expected = np.mean([net(mx.nd.array(clips[crop::10])).asnumpy()[0] for crop in range(10)], axis=0)
        np.testing.assert_allclose(found.scores[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('segments, crops, expected', [(1, 1, 1), (2, 1, 2), (6, 1, 6), (6, 10, 60), (7, 1, None)])
def test_views_per_score_of_an_exported_network_are_found_by_trying(tmp_path, segments, crops, expected):
    net = model_zoo.get_model(tiny.NAME, nclass=4, pretrained_base=False, input_size=32,
                              num_segments=segments, num_crop=crops)
    net.hybridize()
    net(mx.nd.zeros((segments * crops, 3, 32, 32)))
    net.export(str(tmp_path / 'net'))
    exported = mx.gluon.SymbolBlock.imports(str(tmp_path / 'net-symbol.json'), ['data'],
                                            str(tmp_path / 'net-0000.params'))
    if expected is None:
        with pytest.raises(ModelError, match='--num-segments'):
            views.views_per_score(exported, looks(32, 10), 6, mx.cpu())
    else:
        assert views.views_per_score(exported, looks(32, 10), 6, mx.cpu()) == expected


@pytest.mark.parametrize('height, width', [(256, 340), (224, 297), (341, 256), (224, 224), (227, 229)])
def test_crops_lie_where_gluoncv_puts_them(height, width):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)

    def cut(crops, size):
        for top, left, mirrored in crop_places(height, width, (size, size), crops):
            crop = frame[top:top + size, left:left + size]
            yield crop[:, ::-1] if mirrored else crop

    assert all(map(np.array_equal, cut(10, 200), oracle.VideoTenCrop(200)([frame])))
    assert np.array_equal(next(cut(1, 224)), oracle.VideoCenterCrop(224)([frame])[0])
    side = min(height, width)
    assert all(map(np.array_equal, cut(3, side), oracle.VideoThreeCrop(side)([frame])))


def test_impossible_views_are_refused_with_the_flags_to_change(demo_appearance):
    with pytest.raises(UsageError, match='short side'):
        crop_places(256, 340, (224, 224), 3)
    with pytest.raises(UsageError, match='1, 3 or 10'):
        looks(32, crops=5)
    with pytest.raises(UsageError, match='short_side is 200'):
        looks(224, short_side=200)
    with pytest.raises(UsageError, match='--average'):
        score_videos(small_net(2), videos_of(demo_appearance), looks(32), average='median')
    with pytest.raises(UsageError, match=r'86x64.*have no 65x65 crop.*--new-width'):
        score_videos(small_net(2), videos_of(demo_appearance), looks(65), num_workers=1)


def test_a_network_with_segments_inside_is_refused_unless_announced(demo_appearance):
    net = model_zoo.get_model(tiny.NAME, nclass=4, pretrained_base=False, num_segments=2, input_size=32)
    dataset = videos_of(demo_appearance, num_segments=2)
    with pytest.raises(ModelError, match='num_segments=1'):
        score_videos(net, dataset, looks(32), batch_size=4)
    with pytest.raises(UsageError, match='does not divide'):
        score_videos(net, dataset, looks(32), views_per_score=3)
