"""Overlays and timelines: frames, times and sizes of what is written, text that fits, files that are whole or not."""
import os
import threading

import av
import numpy as np
import pytest
from bundles import LABELS, make_bundle
from PIL import Image, ImageDraw
from videos import write_frames, write_video

from gluon_action.data.reading.stream import Frame
from gluon_action.deploy.predict.prediction import Gap
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.deploy.predict.windows import History, Window
from gluon_action.deploy.predicted import overlay as overlays
from gluon_action.deploy.predicted import overlay_panel
from gluon_action.deploy.predicted.overlay import Overlay
from gluon_action.deploy.predicted.overlay_panel import Panel, clock, fit_text
from gluon_action.deploy.predicted.timeline import plot_timeline
from gluon_action.errors import OutputError, UsageError

LONG = 'pushing something from left to right until it almost falls off the edge of the table'


class Stream:
    def __init__(self, fps=25.0, num_frames=None, live=False):
        self.fps, self.num_frames, self.live = fps, num_frames, live


def window(number, *probabilities, fps=25.0):
    values = np.array(probabilities, np.float32)
    return Window(number / fps, (number + 1) / fps, number, values, values)


def frame(number, size=(96, 64), seconds=None, shade=0):
    return Frame(number, number / 25 if seconds is None else seconds, np.full((size[1], size[0], 3), shade, np.uint8))


def decoded(path):
    """Times in seconds and pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    found = [(float(item.pts * item.time_base), item.to_ndarray(format='rgb24')) for item in frames]
    return [time for time, _ in found], np.stack([picture for _, picture in found])


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp('bundles') / 'means')


def test_every_frame_is_shown_as_long_as_in_the_source(tmp_path):
    times = [0.0, 0.04, 0.08, 0.48, 0.52, 1.52]  # as a phone's rate varies
    with Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
        drawn.open(Stream())
        drawn.window(window(0, 0.1, 0.7, 0.2))
        for number, seconds in enumerate(times):
            drawn.frame(frame(number, seconds=seconds))
    assert decoded(tmp_path / 'o.mp4')[0] == pytest.approx(times, abs=1e-3)
    assert os.listdir(tmp_path) == ['o.mp4']


@pytest.mark.parametrize('size, expected', [((64, 48), (448, 336)), ((97, 65), (484, 324)), ((640, 360), (640, 360)),
                                            ((1281, 721), (1280, 720)), ((48, 200), (336, 1400))])
def test_small_videos_are_enlarged_and_sides_are_even(tmp_path, size, expected):
    with Overlay([tmp_path / 'o.mp4', tmp_path / 'o.gif'], LABELS) as drawn:
        drawn.open(Stream(num_frames=2))
        drawn.window(window(0, 0.1, 0.7, 0.2))
        for number in range(2):
            drawn.frame(frame(number, size))
    assert decoded(tmp_path / 'o.mp4')[1].shape == (2, expected[1], expected[0], 3)
    with Image.open(tmp_path / 'o.gif') as gif:
        assert max(gif.size) == 400 and gif.size[0] / gif.size[1] == pytest.approx(size[0] / size[1], rel=0.02)


def test_only_the_foot_of_the_picture_is_drawn_on(tmp_path):
    with Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
        drawn.open(Stream(num_frames=1))
        drawn.window(window(0, 0.1, 0.7, 0.2))
        drawn.frame(frame(0, (640, 480), shade=200))
    picture = decoded(tmp_path / 'o.mp4')[1][0].astype(int)
    touched = np.flatnonzero((np.abs(picture - 200) > 12).any(axis=(1, 2)))
    assert touched.min() > 0.7 * 480 and touched.max() == 479


@pytest.mark.parametrize('size', [(320, 320), (448, 336), (1920, 1080), (360, 640)])
@pytest.mark.parametrize('label', [LONG, 'a', 'W' * 300, ''])
def test_labels_of_any_length_fit(size, label):
    panel = Panel(*size, [label, 'take bag', LONG], 3725.0)
    picture = Image.new('RGB', size, 'white')
    history = History()
    history.add(window(0, 0.5, 0.3, 0.2))
    panel.draw(picture, 1.0, history)
    pixels = np.asarray(picture).astype(int)
    strip = pixels[panel._top:]
    # Text is white on dark: none of it may touch the left or right edge.
    assert strip[:, :2].max() < 120 and strip[:, -2:].max() < 120 and pixels[:panel._top].min() == 255


@pytest.mark.parametrize('threshold, shown', [(None, 'wave'), (0.6, 'wave'), (0.7, 'none of these')])
def test_below_the_threshold_nothing_is_said_to_be_shown(monkeypatch, threshold, shown):
    written, history = [], History()
    rolling = np.array([.25, .625, .125], np.float32)
    history.add(Window(0., 1., 24, rolling, rolling))
    monkeypatch.setattr(overlay_panel, 'fit_text', lambda text, *given, **more: written.append(text) or (12, text))
    Panel(400, 300, LABELS, 3.0, threshold=threshold).draw(Image.new('RGB', (400, 300)), 1.0, history)
    assert written[0] == shown


def test_text_shrinks_and_is_then_cut():
    draw = ImageDraw.Draw(Image.new('RGB', (10, 10)))
    assert fit_text('open bag', 500, 20, draw) == (20, 'open bag')
    size, text = fit_text('open the large bag', 130, 20, draw)
    assert 14 <= size < 20 and text == 'open the large bag'
    size, text = fit_text(LONG, 130, 20, draw)
    assert size == 14 and text.endswith('…') and LONG.startswith(text[:-1])


@pytest.mark.parametrize('count', [1, 20, 900])
def test_a_curve_has_a_point_a_pixel_at_most_and_the_newest_one(monkeypatch, count):
    history, lines, draw = History(), [], ImageDraw.ImageDraw.line
    for number in range(count):
        history.add(window(number, 0.1, 0.9 if number == count - 1 else 0.5, 0.4))
    monkeypatch.setattr(ImageDraw.ImageDraw, 'line', lambda self, points, **style: lines.append((points, style))
                        or draw(self, points, **style))
    panel = Panel(320, 240, LABELS, count / 25)
    panel.draw(Image.new('RGB', (320, 240)), 0., history)
    curves = [(points, style) for points, style in lines if 'joint' in style]
    assert len(curves) == 3 and all(len(points) <= panel._chart_size[0] + 2 for points, _ in curves)
    assert {style['joint'] for _, style in curves} == {'curve' if count < 100 else None}
    best, _ = curves[-1]
    assert best[-1][0] == pytest.approx(3 * panel._chart_size[0]) and best[-1][1] < 0.3 * 3 * panel._chart_size[1]
    assert len(best) == count + 1 or count == 900


def test_the_network_does_not_wait_for_the_encoder(tmp_path):
    """The thread that draws is not the one that encodes, until too many pictures wait."""
    encoding, threads, go = overlays._Mp4._encode, [], threading.Event()

    def slow(self, picture, time):
        threads.append(threading.current_thread())
        go.wait(20)
        encoding(self, picture, time)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlays._Mp4, '_encode', slow)
        with Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
            drawn.open(Stream(num_frames=9))
            drawn.window(window(0, 0.1, 0.7, 0.2))
            for number in range(9):
                drawn.frame(frame(number))
            go.set()
    assert len(threads) == 9 and threading.current_thread() not in threads
    assert decoded(tmp_path / 'o.mp4')[0] == pytest.approx([number / 25 for number in range(9)], abs=1e-3)


def test_what_the_encoder_refuses_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(self, picture, time):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(overlays._Mp4, '_encode', refuse)
    with pytest.raises(OutputError, match='o.mp4: cannot be written: No space left'), \
            Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
        drawn.open(Stream(num_frames=50))
        drawn.window(window(0, 0.1, 0.7, 0.2))
        for number in range(50):
            drawn.frame(frame(number))
    assert os.listdir(tmp_path) == []


def test_frames_before_the_first_score_wait_for_it(tmp_path):
    with Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
        drawn.open(Stream(num_frames=12))
        for number in range(12):
            drawn.frame(frame(number, (640, 360)))
            if number == 7:
                assert len(drawn._held) == 8
                drawn.window(window(7, 0.0, 1.0, 0.0))
        assert not drawn._held
    times, pictures = decoded(tmp_path / 'o.mp4')
    assert times == pytest.approx([number / 25 for number in range(12)], abs=1e-3)
    label = pictures[:, 275:300, 10:200].astype(int)
    assert np.abs(label - label[-1]).mean() < 3  # the label is there from the first frame on


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(overlays, 'HOLD_BYTES', 5 * 96 * 64 * 3)
    with Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
        drawn.open(Stream())
        for number in range(12):
            drawn.frame(frame(number))
            assert len(drawn._held) <= 5
    assert len(decoded(tmp_path / 'o.mp4')[0]) == 12


def test_a_gif_of_a_long_video_is_a_time_lapse_of_bounded_length(tmp_path, monkeypatch):
    monkeypatch.setattr(overlays, 'GIF_FRAMES', 40)
    with Overlay([tmp_path / 'o.gif'], LABELS) as drawn:
        drawn.open(Stream(num_frames=2_000))
        drawn.window(window(0, 0.1, 0.7, 0.2))
        for number in range(0, 2_000, 2):
            drawn.frame(frame(number, (32, 32), shade=number * 255 // 2_000))
    with Image.open(tmp_path / 'o.gif') as gif:
        assert 20 <= gif.n_frames <= 40
        gif.seek(gif.n_frames - 1)
        assert gif.info['duration'] == 100 and np.asarray(gif.convert('RGB'))[5, 5, 0] > 240


def test_a_gif_of_a_short_video_takes_as_long_as_it(tmp_path):
    with Overlay([tmp_path / 'o.gif'], LABELS) as drawn:
        drawn.open(Stream(num_frames=50))
        drawn.window(window(0, 0.1, 0.7, 0.2))
        for number in range(50):
            drawn.frame(frame(number, shade=5 * number))
    with Image.open(tmp_path / 'o.gif') as gif:
        total = 0
        for place in range(gif.n_frames):
            gif.seek(place)
            total += gif.info['duration']
    assert total == pytest.approx(2000, abs=150)


def test_frames_of_other_sizes_are_brought_to_the_firsts(tmp_path):
    with Overlay([tmp_path / 'o.mp4'], LABELS) as drawn:
        drawn.open(Stream())
        drawn.window(window(0, 0.1, 0.7, 0.2))
        drawn.frame(frame(0, (640, 480)))
        drawn.frame(frame(1, (320, 200)))
    assert decoded(tmp_path / 'o.mp4')[1].shape[1:3] == (480, 640)


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / 'o.mp4').write_bytes(b'old')
    with pytest.raises(ZeroDivisionError), Overlay([tmp_path / 'o.mp4', tmp_path / 'o.gif'], LABELS) as drawn:
        drawn.window(window(0, 0.1, 0.7, 0.2))
        drawn.frame(frame(0))
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ['o.mp4'] and (tmp_path / 'o.mp4').read_bytes() == b'old'


def test_a_second_file_that_cannot_be_made_leaves_no_part_of_the_first(tmp_path):
    with pytest.raises(OutputError, match='missing/o.gif: cannot be written'):
        Overlay([tmp_path / 'o.mp4', tmp_path / 'missing' / 'o.gif'])
    assert os.listdir(tmp_path) == []


def test_a_disk_that_cannot_be_written_is_an_output_error():
    with pytest.raises(OutputError, match='o.mp4: cannot be written'):
        Overlay(['/proc/o.mp4'])
    with pytest.raises(UsageError, match='.mp4 or .gif, not as .webm'):
        Overlay(['o.webm'])


def test_a_whole_prediction_is_drawn(bundle, tmp_path):
    video = write_video(tmp_path / 'a.mp4', 30)
    predictor = Predictor(bundle)
    with Overlay([tmp_path / 'o.mp4'], predictor.labels) as drawn:
        predictor.stream(video, **drawn.listeners)
    times, pictures = decoded(tmp_path / 'o.mp4')
    assert times == pytest.approx([number / 25 for number in range(30)], abs=1e-3)
    rows = pictures.astype(int)[:, -60:, 20:-20].mean(axis=(1, 2, 3))
    assert rows.max() < 110  # the panel is dark in every frame


def test_a_short_video_is_drawn_with_its_score(bundle, tmp_path):
    video = write_video(tmp_path / 'a.mp4', 2)
    predictor = Predictor(bundle)
    with Overlay([tmp_path / 'o.mp4'], predictor.labels) as drawn:
        predictor.stream(video, **drawn.listeners)
    assert len(decoded(tmp_path / 'o.mp4')[0]) == 2 and len(drawn.history.windows) == 1


@pytest.mark.parametrize('seconds, text', [(0, '0:00'), (5.99, '0:05'), (79, '1:19'), (3600, '1:00:00')])
def test_times_are_shown_as_people_write_them(seconds, text):
    assert clock(seconds) == text


# ---------------------------------------------------------------- timelines

@pytest.mark.parametrize('count', [1, 50])
@pytest.mark.draws
def test_a_timeline_is_drawn_for_one_window_or_many(bundle, tmp_path, count):
    video = write_frames(tmp_path / 'v', range(1, 4 * count))
    plot_timeline(Predictor(bundle, stride=4)(video), tmp_path / 't.png')
    with Image.open(tmp_path / 't.png') as plot:
        assert plot.size == (1100, 396) and len(plot.getcolors(1 << 20)) > 50


@pytest.mark.draws
def test_what_could_not_be_decoded_is_shaded(bundle, tmp_path):
    import dataclasses
    prediction = Predictor(bundle)(write_frames(tmp_path / 'v'))
    shades = []
    for gaps in ([], [Gap(10, 19, 0.4, 0.8, 'damaged')]):
        plot_timeline(dataclasses.replace(prediction, skipped=gaps), tmp_path / 't.png')
        with Image.open(tmp_path / 't.png') as plot:
            shades.append((np.asarray(plot.convert('RGB')) == 204).all(axis=2).sum())
    assert shades[0] < 1000 and shades[1] > 20_000


@pytest.mark.draws
def test_letters_that_the_font_lacks_are_told_once(bundle, tmp_path, caplog, recwarn):
    import dataclasses
    prediction = Predictor(bundle)(write_frames(tmp_path / 'v'))
    plot_timeline(dataclasses.replace(prediction, labels=['洗', '跑步', 'c']), tmp_path / 't.png')
    assert caplog.text.count('boxes replace the others') == 1 and not recwarn.list


@pytest.mark.draws
def test_long_labels_and_names_stay_in_the_plot(bundle, tmp_path):
    import dataclasses
    prediction = Predictor(bundle)(write_frames(tmp_path / 'v'))
    named = dataclasses.replace(prediction, labels=[LONG, 30 * LONG.upper(), '$x_1^{$'], label=LONG, source='v' * 200)
    plot_timeline(named, tmp_path / 't.png')
    with Image.open(tmp_path / 't.png') as plot:
        edges = np.asarray(plot.convert('L'))
    assert edges[:, :2].min() > 250 and edges[:, -2:].min() > 250
