"""Predictions of videos against numpy over all frames: windows, crops, damage, flow, memory, and what is refused."""
import dataclasses
import json
import threading
import time

import numpy as np
import pytest
from bundles import CLIPS, LABELS, WEIGHTS, make_bundle, make_model, scores_by_hand
from flows import write_moving_video
from videos import rotate_by_header, write_frames, write_video

from gluon_action.data.flow.methods import compute_flow, quantize, to_gray
from gluon_action.data.preprocess import Preprocess
from gluon_action.data.reading.video_reader import VideoReader, resize
from gluon_action.deploy.bundle.format import read_bundle
from gluon_action.deploy.predict.prediction import Prediction, merge_gaps
from gluon_action.deploy.predict.predictor import Predictor, probabilities_of
from gluon_action.deploy.predict.windows import WindowPlan
from gluon_action.errors import BundleError, UsageError, VideoReadError


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('videos') / 'a.mp4', 45, options={'g': '12', 'crf': '18'})


def all_frames(path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(range(len(reader)))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def starts_of(num_frames, stride=4, span=3):
    """Where windows begin: every so many frames, and the last one where it ends with the last frame."""
    return sorted({*range(0, num_frames - span + 1, stride), num_frames - span})


def by_hand(look, frames, starts, weights=WEIGHTS) -> np.ndarray:
    """Probabilities of windows of one clip."""
    clips = np.concatenate([frames[[start + offset for offset in look.offsets]] for start in starts])
    logits = scores_by_hand(look, clips, weights)
    return softmax(logits.reshape(len(starts), look.crops, -1).mean(axis=1))


# ---------------------------------------------------------------- what comes out

@pytest.mark.parametrize('stride, batch_size', [(4, 1), (4, 8), (4, 3), (1, 8), (9, 2)])
def test_every_window_has_the_scores_of_its_frames_and_their_mean_decides(bundle, video, stride, batch_size):
    found = Predictor(bundle, stride=stride, batch_size=batch_size)(video)
    starts = starts_of(45, stride)
    expected = by_hand(CLIPS, all_frames(video), starts)
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, rtol=1e-4)
    assert [window.frame for window in found.windows] == [start + 2 for start in starts]
    np.testing.assert_allclose([window.end for window in found.windows], [(start + 3) / 25 for start in starts])
    np.testing.assert_allclose(found.probabilities, expected.mean(axis=0), rtol=1e-4)
    assert (found.label, found.index) == (LABELS[found.index], expected.mean(axis=0).argmax())
    assert found.score == pytest.approx(expected.mean(axis=0).max(), rel=1e-4)


def test_a_majority_counts_windows(bundle, video):
    found = Predictor(bundle, vote='majority')(video)
    winners = by_hand(CLIPS, all_frames(video), starts_of(45)).argmax(axis=1)
    np.testing.assert_allclose(found.probabilities, np.bincount(winners, minlength=3) / len(winners), rtol=1e-6)
    assert found.top(1)[0] == (found.label, found.score)


def test_of_a_draw_the_class_that_won_is_named_first():
    drawn = Prediction('a.mp4', 'wave', 1, 0.5, np.array([.5, .5, 0]), [], 1, [], LABELS, {})
    assert drawn.top(3) == [('wave', .5), ('rest', .5), ('jump', 0)]


def test_crops_are_averaged_before_the_softmax(tmp_path, video):
    look = dataclasses.replace(CLIPS, crops=3, resize={'short_side': 8})
    found = Predictor(make_bundle(tmp_path / 'b', look))(video)
    expected = by_hand(look, all_frames(video), starts_of(45))
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, rtol=1e-4)


def test_a_model_of_single_frames_and_many_labels(tmp_path, video):
    look = Preprocess(layout='NCHW', offsets=(0,), stride=5, crop=(8, 8), mean=(.4,) * 3, std=(.2,) * 3,
                      resize={'width': 12, 'height': 10}, activation='sigmoid')
    found = Predictor(make_bundle(tmp_path / 'b', look))(video)
    logits = scores_by_hand(look, all_frames(video)[[0, 5, 10, 15, 20, 25, 30, 35, 40, 44]])
    np.testing.assert_allclose([window.probabilities for window in found.windows], 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_rows_of_one_score_are_clips_in_a_row(video):
    look = dataclasses.replace(CLIPS, rows=2)

    class Model:
        shapes = []

        def run(self, input):
            self.shapes.append(input.shape)
            return input.reshape(-1, 2, 3, 2, 8, 8).mean(axis=(1, 3, 4, 5))

    class Described:
        preprocess, labels, name = look, None, 'made here'

    found = Predictor(Described, model=Model(), batch_size=2)(video)
    frames = all_frames(video)
    rows = [[start + row * 4 + offset for row in range(2) for offset in (0, 2)] for start in (*range(0, 39, 8), 38)]
    expected = np.stack([look.apply(frames[row]).mean(axis=(0, 2, 3, 4)) for row in rows])
    np.testing.assert_allclose([window.probabilities for window in found.windows], softmax(expected), rtol=1e-4)
    assert Model.shapes == [(4, 3, 2, 8, 8)] * 3
    assert found.label == str(found.index) and found.protocol['bundle'] is None


@pytest.mark.parametrize('stride, seconds, count', [(4, 0.48, 3), (1, 0.48, 12), (4, 0.01, 1), (4, 2., 12)])
def test_rolling_means_look_back_on_seconds_and_are_told_with_the_windows(bundle, video, stride, seconds, count):
    seen = []
    found = Predictor(bundle, rolling=seconds, stride=stride).stream(video, on_window=seen.append)
    r = np.zeros(3)
    for i, window in enumerate(seen):
        r = (r * min(i, count - 1) + window.probabilities) / min(i + 1, count)
        np.testing.assert_allclose(window.rolling, r, rtol=1e-5)
    assert [window.frame for window in seen] == [window.frame for window in found.windows]


def test_frames_are_told_whole_and_after_the_windows_that_end_with_them(bundle, video):
    seen = []
    found = Predictor(bundle, stride=10).stream(
        video, on_window=lambda window: seen.append(('window', window.frame)),
        on_frame=lambda frame: seen.append((frame.picture.shape, frame.number)))
    frames = [item for item in seen if item[0] != 'window']
    assert frames == [((64, 96, 3), number) for number in range(45)]
    for number in (2, 12, 22, 32, 42):
        assert seen.index(('window', number)) == seen.index(((64, 96, 3), number)) - 1
    alone = Predictor(bundle, stride=10)(video)
    np.testing.assert_allclose(found.probabilities, alone.probabilities, rtol=1e-5)


def test_the_answer_carries_its_protocol(bundle, video):
    found = Predictor(bundle, stride=6)(video)
    record = json.loads(json.dumps(found.as_dict(2)))
    manifest = read_bundle(bundle).manifest
    assert record['protocol'] == {
        'model': 'means', 'bundle': str(bundle), 'bundle_sha256': manifest['sha256'],
        'model_sha256': manifest['files']['model.onnx']['sha256'], 'precision': 'float32', 'stride': 6, 'span': 3,
        'frames_per_clip': 2, 'clips_per_window': 1, 'crops': 1, 'lead_in': False, 'vote': 'mean',
        'rolling_seconds': 2.0, 'threshold': None, 'activation': 'softmax', 'flow_method': None, 'on_damage': 'skip',
        'windows': 8, 'windows_left_out': 0, 'frames_repeated': 0, 'frames_skipped': 0, 'frames_dropped': 0,
        'fps': 25.0}
    assert len(record['top']) == 2 and len(record['windows'][0]['top']) == 2 and len(record['probabilities']) == 3


def test_a_bare_model_predicts_like_its_bundle(bundle, video, tmp_path):
    alone = make_model(tmp_path / 'alone.onnx')
    found = Predictor(alone)(video)
    np.testing.assert_allclose(found.probabilities, Predictor(bundle)(video).probabilities)
    assert found.protocol['bundle_sha256'] is None and len(found.protocol['model_sha256']) == 64


# ---------------------------------------------------------------- videos that are not as they should be

@pytest.mark.parametrize('num_frames, repeated', [(1, 2), (2, 1), (3, 0)])
def test_a_video_shorter_than_a_window_repeats_its_last_frame_and_says_so(bundle, tmp_path, caplog, num_frames,
                                                                         repeated):
    path = write_video(tmp_path / 'short.mp4', num_frames)
    found = Predictor(bundle)(path)
    frames = all_frames(path)
    expected = by_hand(CLIPS, frames[[0, 0, 2 if num_frames == 3 else 0]], [0])
    np.testing.assert_allclose(found.probabilities, expected[0], rtol=1e-4)
    assert found.protocol['frames_repeated'] == repeated and ('last one was repeated' in caplog.text) == (repeated > 0)


def test_frames_that_cannot_be_decoded_are_reported_and_time_is_kept(bundle, tmp_path):
    folder = write_frames(tmp_path / 'frames', range(1, 31), pattern='frame_%010d.jpg')
    for number in (10, 11, 12, 20):  # 11 is in no window, so nobody looks at it
        (folder / f'frame_{number + 1:010d}.jpg').write_bytes(b'no picture')
    found = Predictor(bundle)(folder)
    assert [(gap.first, gap.last) for gap in found.skipped] == [(10, 12), (20, 20)]
    assert (found.skipped[0].start, found.skipped[0].end) == (pytest.approx(10 / 25), pytest.approx(13 / 25))
    frames = all_frames(write_frames(tmp_path / 'whole', range(1, 31)))
    pairs = [(0, 2), (4, 6), (8, 8), (14, 14), (16, 18), (22, 22), (24, 26), (27, 29)]
    expected = softmax(scores_by_hand(CLIPS, np.concatenate([frames[list(pair)] for pair in pairs])))
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, rtol=1e-4)
    assert [window.frame for window in found.windows] == [2, 6, 10, 14, 18, 22, 26, 29]
    assert [window.start for window in found.windows] == pytest.approx([0, .16, .32, .48, .64, .8, .96, 1.08])
    assert found.protocol['frames_skipped'] == 3 and found.protocol['windows_left_out'] == 0


def test_frames_that_cannot_be_decoded_at_the_end_count_as_frames(bundle, tmp_path):
    folder = write_frames(tmp_path / 'frames', range(1, 32))
    whole = Predictor(bundle)(folder)
    (folder / 'img_00031.jpg').write_bytes(b'no picture')
    found = Predictor(bundle)(folder)
    assert [window.frame for window in found.windows] == [window.frame for window in whole.windows] == [
        2, 6, 10, 14, 18, 22, 26, 30]
    assert found.windows[-1].end == pytest.approx(31 / 25)
    np.testing.assert_array_equal(found.windows[0].probabilities, whole.windows[0].probabilities)
    frames = all_frames(write_frames(tmp_path / 'others', range(1, 32)))
    np.testing.assert_allclose(found.windows[-1].probabilities, by_hand(CLIPS, frames[[28, 28, 28]], [0])[0], rtol=1e-4)
    assert found.protocol['frames_skipped'] == 1 and found.protocol['frames_repeated'] == 0


def test_a_short_video_whose_end_is_damaged_repeats_nothing(bundle, tmp_path, caplog):
    folder = write_frames(tmp_path / 'frames', range(1, 4))
    (folder / 'img_00003.jpg').write_bytes(b'no picture')
    found = Predictor(bundle)(folder)
    assert len(found.windows) == 1 and found.windows[0].frame == 2
    assert found.protocol['frames_repeated'] == 0 and 'repeated' not in caplog.text


def test_a_window_without_frames_is_left_out(bundle, tmp_path):
    folder = write_frames(tmp_path / 'frames', range(1, 31))
    for number in range(8, 16):
        (folder / f'img_{number + 1:05d}.jpg').write_bytes(b'no picture')
    found = Predictor(bundle)(folder)
    assert [window.frame for window in found.windows] == [2, 6, 18, 22, 26, 29]
    assert found.protocol['windows_left_out'] == 2


def test_when_no_window_has_frames_that_is_an_error(tmp_path):
    look = dataclasses.replace(CLIPS, offsets=tuple(range(12)), stride=12)
    bundle = make_bundle(tmp_path / 'b', look)
    folder = write_frames(tmp_path / 'frames', range(1, 13))
    for number in range(1, 9):
        (folder / f'img_{number:05d}.jpg').write_bytes(b'no picture')
    with pytest.raises(VideoReadError, match='none of its 1 windows of 12 frames.*more than half'):
        Predictor(bundle)(folder)


def test_a_video_without_a_frame_is_an_error(bundle, tmp_path):
    path = write_video(tmp_path / 'none.mp4', 0, muxer={'movflags': 'empty_moov'})
    with pytest.raises(VideoReadError, match='none.mp4'):
        Predictor(bundle)(path)


def test_a_phone_video_is_looked_at_upright(bundle, video, tmp_path):
    turned = tmp_path / 'turned.mp4'
    turned.write_bytes(video.read_bytes())
    rotate_by_header(turned)
    frames = all_frames(turned)
    assert frames.shape[1:3] == (96, 64)
    found = Predictor(bundle)(turned)
    np.testing.assert_allclose(found.probabilities, by_hand(CLIPS, frames, starts_of(45)).mean(axis=0), rtol=1e-4)


def test_frames_of_several_sizes_are_refused_where_nothing_resizes_them(tmp_path):
    bundle = make_bundle(tmp_path / 'b', dataclasses.replace(CLIPS, resize={}))
    folder = write_frames(tmp_path / 'frames', range(1, 3))
    write_frames(folder, range(3, 6), size=(48, 32))
    with pytest.raises(UsageError, match='differ in size'):
        Predictor(bundle, stride=1)(folder)


# ---------------------------------------------------------------- optical flow

FLOW = Preprocess(layout='NCTHW', modality='flow', offsets=(0, 1, 2), stride=3, crop=(24, 24), mean=(.5, .5),
                  std=(.5, .5), flow_bound=20., resize={'short_side': 24})
FLOW_WEIGHTS = np.array([[8, 0], [0, 8], [-8, 0]], 'float32')


@pytest.fixture(scope='module')
def flow_bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp('flow') / 'b', FLOW, ['right', 'down', 'left'], weights=FLOW_WEIGHTS)


def test_a_model_of_flow_computes_it_from_a_video(flow_bundle, tmp_path):
    path = write_moving_video(tmp_path / 'a.mp4', (2, 0), 10, (64, 48))
    gray = [to_gray(resize(frame, 32, 24)) for frame in all_frames(path)]
    flow = np.stack([quantize(compute_flow(*pair, 'farneback'), 20.) for pair in zip(gray, gray[1:])])
    expected = by_hand(FLOW, flow, (0, 3, 6), FLOW_WEIGHTS)
    found = Predictor(flow_bundle, flow_method='farneback')(path)
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, rtol=1e-3)
    assert found.label == 'right' and found.protocol['flow_method'] == 'farneback'


def test_a_model_of_flow_reads_what_was_extracted(flow_bundle, tmp_path):
    from gluon_action.data.flow.extraction import FlowSettings, extract_video
    path = write_moving_video(tmp_path / 'a.mp4', (0, 2), 10, (64, 48))
    extract_video(str(path), tmp_path / 'flow', FlowSettings('farneback', short_side=0, image_format='png'))
    with VideoReader(tmp_path / 'flow', modality='flow') as reader:
        flow = reader.read(range(len(reader)))
    seen = []
    found = Predictor(flow_bundle).stream(tmp_path / 'flow', on_frame=seen.append)
    np.testing.assert_allclose([window.probabilities for window in found.windows],
                               by_hand(FLOW, flow, (0, 3, 6), FLOW_WEIGHTS), rtol=1e-4)
    assert found.label == 'down' and seen[0].picture.shape == (48, 64, 3)


def test_flow_is_refused_by_a_model_of_pictures(bundle, tmp_path):
    (tmp_path / 'flow.json').write_text('{}')
    with pytest.raises(UsageError, match='holds optical flow'):
        Predictor(bundle)(tmp_path)


# ---------------------------------------------------------------- threads and memory

class Slow:
    """Takes as long for a window as a network does."""

    def __init__(self, seconds):
        self.seconds, self.spans, self.threads = seconds, [], set()

    def run(self, input):
        self.threads.add(threading.current_thread().name)
        started = time.monotonic()
        time.sleep(self.seconds * len(input))
        self.spans.append((started, time.monotonic()))
        return np.zeros((len(input), 3), np.float32)


class Means:
    preprocess, labels, name = CLIPS, LABELS, 'slow'


def test_frames_are_decoded_while_the_network_computes(monkeypatch, video):
    from gluon_action.data.reading import stream as frame_stream
    made, model = [], Slow(0.02)
    take = frame_stream._Queue.take

    def slowly(queue):
        frame = take(queue)
        made.append(time.monotonic())
        time.sleep(0.02)
        return frame

    monkeypatch.setattr(frame_stream._Queue, 'take', slowly)
    Predictor(Means, model=model, stride=2, batch_size=2)(video)
    meanwhile = [moment for moment in made if any(start < moment < end for start, end in model.spans)]
    assert len(meanwhile) > len(made) / 4 and model.threads == {'network_0'}


def test_no_more_frames_are_decoded_ahead_than_two_batches_or_64(monkeypatch, tmp_path):
    path = write_video(tmp_path / 'long.mp4', 200, size=(32, 32), options={'crf': '40'})
    decoded, ahead = [], []
    wanted = WindowPlan.wanted
    monkeypatch.setattr(WindowPlan, 'wanted', lambda plan, number, num_frames=None:
                        wanted(plan, number, num_frames) and not decoded.append(number))

    class Waiting:
        def run(self, input):
            before = -1
            while before < len(decoded):  # until decoding pauses
                before = len(decoded)
                time.sleep(0.1)
            ahead.append(before - 2 * len(ahead))
            if len(ahead) == 2:
                raise BundleError('seen enough')
            return np.zeros((len(input), 3), np.float32)

    with pytest.raises(BundleError, match='seen enough'):
        Predictor(Means, model=Waiting(), batch_size=1)(path)
    assert 60 <= min(ahead) and max(ahead) <= 85  # of 101: 64 wait, others are being cut or computed


def test_an_error_of_the_model_ends_everything(video):
    class Broken:
        def run(self, input):
            raise BundleError('broken here')

    before = threading.active_count()
    with pytest.raises(BundleError, match='broken here'):
        Predictor(Means, model=Broken(), batch_size=1)(video)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_model_that_does_not_combine_the_rows_it_should_is_an_error(tmp_path, video):
    look = dataclasses.replace(CLIPS, rows=3)
    with pytest.raises(BundleError, match=r'scores \(\d+, 3\) for \d+ rows of input, and its preprocessing \(rows 3\)'):
        Predictor(make_model(tmp_path / 'a.onnx', look))(video)


def test_thousands_of_threads_are_refused(bundle):
    with pytest.raises(UsageError, match='threads must be 1 to 1024, got 100000'):
        Predictor(bundle, threads=100000)


def test_scores_that_are_no_numbers_are_an_error(video):
    class Mad:
        def run(self, input):
            return np.full((len(input), 3), np.nan, np.float32)

    with pytest.raises(BundleError, match='not finite'):
        Predictor(Means, model=Mad())(video)


def test_ctrl_c_ends_a_camera_and_what_was_seen_is_judged(bundle, video, monkeypatch):
    from gluon_action.deploy.predict import inputs as source_frames
    def stop_at(number):
        def look(frame):
            if frame.number == number:
                raise KeyboardInterrupt
        return look

    with pytest.raises(KeyboardInterrupt):
        Predictor(bundle).stream(video, on_frame=stop_at(20))

    class Camera(source_frames.FrameStream):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            self.live = self.endless = True

    monkeypatch.setattr(source_frames, 'FrameStream', Camera)
    found = Predictor(bundle).stream(video, on_frame=stop_at(20))
    assert [window.frame for window in found.windows[-2:]] == [18, 20]


def test_batches_of_large_windows_are_small(tmp_path):
    look = dataclasses.replace(CLIPS, offsets=tuple(range(64)), crop=(224, 224), resize={'short_side': 256})

    class Large:
        preprocess, labels = look, None

    assert Predictor(Large, model=Slow(0)).batch_size == 1
    assert Predictor(Means, model=Slow(0)).batch_size == 8


@pytest.mark.parametrize('change, batch_size', [
    # 2 ** 24 numbers of input at most: 2 x 3 x 300 x 300 a clip, with 10 crops, and 3 clips a score
    ({'crop': (600, 600), 'resize': {'short_side': 600}}, 7),
    ({'crop': (300, 300), 'resize': {'short_side': 300}, 'crops': 10}, 3),
    ({'crop': (500, 500), 'resize': {'short_side': 500}, 'rows': 3}, 3),
    # or as many bytes as these numbers have, of frames that are large before a small window is cut out of them
    ({'resize': {'short_side': 1500}}, 4), ({'resize': {'short_side': 1500}, 'rows': 2}, 2),
    ({'resize': {'width': 4000, 'height': 1000}}, 2)])
def test_a_batch_is_as_large_as_its_memory_allows(change, batch_size):
    class Described:
        preprocess, labels = dataclasses.replace(CLIPS, **change), LABELS

    assert Predictor(Described, model=Slow(0)).batch_size == batch_size


def test_probabilities_of_large_logits_are_finite():
    logits = np.array([[1000., -1000., 0.]])
    np.testing.assert_allclose(probabilities_of(logits, 'softmax'), [[1, 0, 0]])
    np.testing.assert_allclose(probabilities_of(logits, 'sigmoid'), [[1, 0, .5]])


def test_frames_that_follow_each_other_are_one_gap():
    skipped = [(3, .3, 'a'), (4, .4, 'b'), (7, .7, 'c'), (9, .9, 'd')]
    found = merge_gaps(skipped, 10., lambda number: number != 8)  # nobody looks at frame 8
    assert [tuple(gap) for gap in found] == [(3, 4, .3, .5, 'a'), (7, 9, .7, pytest.approx(1.0), 'c')]


def test_arrays_are_no_models_and_numbers_no_videos(bundle):
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    with pytest.raises(UsageError, match=r'bundle must be the folder or the file of a model.*got a ndarray'):
        Predictor(frames)
    for video in (3, None, [None]):
        with pytest.raises(UsageError, match='a video is the name of a file.*or frames in memory'):
            Predictor(bundle)(video)


@pytest.mark.parametrize('rolling', [0, -1., float('nan'), float('inf')])
def test_a_rolling_mean_looks_back_on_a_number_of_seconds(bundle, rolling):
    with pytest.raises(UsageError, match='rolling must be a number of seconds above 0'):
        Predictor(bundle, rolling=rolling)
