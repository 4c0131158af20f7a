"""What people ran into when they predicted their own videos: each situation on one small input."""
import contextlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from bundles import make_bundle
from PIL import Image
from videos import write_frames, write_video

from gluon_action.cli import predict as command
from gluon_action.cli import test_video_action_classifier as classifier
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.predict.prediction import Prediction
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.deploy.predict.videos import find_videos
from gluon_action.deploy.predict.windows import History, Window
from gluon_action.deploy.predicted.overlay import Overlay
from gluon_action.deploy.predicted.overlay_panel import COLORS, ClassColors, Panel
from gluon_action.deploy.predicted.timeline import plot_timeline
from gluon_action.unfinished import stamp_of


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp('bundles') / 'means')


def predict(bundle, *argv):
    return run(command.parse_args, command.main, [str(bundle), *map(str, argv)])


# ---------------------------------------------------------------- every frame is looked at

def shade_of(number):
    """What frame `number` shows: one level of grey, which says which frame it was."""
    return 20 + 3 * number


def write_shades(folder, num_frames):
    folder.mkdir()
    for number in range(num_frames):
        Image.new('RGB', (16, 16), (shade_of(number),) * 3).save(folder / f'{number:03d}.png')
    return folder


class Looking:
    """A model that notes the frames it is shown."""

    def __init__(self):
        self.seen = []

    def run(self, input):
        levels = np.asarray(input)[:, 0, :, 0, 0] * 255
        self.seen += [[round((level - 20) / 3) for level in clip] for clip in levels]
        return np.zeros((len(input), 2), np.float32)


@pytest.mark.parametrize('offsets, stride, num_frames', [
    (range(16), 16, 59), (range(0, 32, 2), 16, 60), (range(8), 30, 59), (range(16), 1, 20), ((0,), 8, 45)])
def test_the_last_frames_of_a_video_are_looked_at(tmp_path, offsets, stride, num_frames):
    offsets, model = tuple(offsets), Looking()
    look = Preprocess(layout='NCTHW', offsets=offsets, stride=stride, crop=(16, 16), mean=(0.,) * 3, std=(1.,) * 3)

    class Described:
        preprocess, labels = look, ['a', 'b']

    found = Predictor(Described, model=model)(write_shades(tmp_path / 'v', num_frames))
    assert found.windows[-1].frame == num_frames - 1 and found.windows[-1].end == pytest.approx(num_frames / 25)
    first = num_frames - 1 - offsets[-1]
    assert model.seen[-1] == [first + offset for offset in offsets]
    assert model.seen[:-1] == [[start + offset for offset in offsets] for start in range(0, first, stride)]


def test_the_classifier_ends_a_window_with_every_frame(bundle, tmp_path, capsys):
    video = write_video(tmp_path / 'v.mp4', 59)
    args = classifier.parse_args(['--video_path', str(video), '--onnx', str(bundle), '--no-overlay'])
    found = classifier.open_classifier(args)(video)
    assert [window.frame for window in found.windows] == list(range(2, 59))
    assert found.windows[-1].end == pytest.approx(59 / 25)
    args = classifier.parse_args(['--video_path', str(video), '--onnx', str(bundle), '--stride', '30'])
    assert [window.frame for window in classifier.open_classifier(args)(video).windows] == [2, 32, 58]


# ---------------------------------------------------------------- what is drawn

def prediction(labels, probabilities, source='a.mp4'):
    """A prediction of windows with these probabilities (windows, K), a second each."""
    probabilities = np.asarray(probabilities, np.float32)
    windows = [Window(float(n), n + 1., 25 * (n + 1) - 1, values, values) for n, values in enumerate(probabilities)]
    mean = probabilities.mean(axis=0)
    index = int(mean.argmax())
    return Prediction(source, labels[index], index, float(mean[index]), mean, windows, 1, [], labels,
                      {'vote': 'mean', 'windows': len(windows)})


def of_timeline(monkeypatch, tmp_path, made, **given):
    drawn = []
    with monkeypatch.context() as patch:
        patch.setattr('gluon_action.deploy.predicted.timeline.write_figure', lambda figure, path: drawn.append(figure))
        plot_timeline(made, tmp_path / 't.png', **given)
    axes = drawn[0].axes[0]
    return axes, dict(zip([text.get_text().rsplit(' (', 1)[0] for text in axes.get_legend().get_texts()],
                          [line.get_color() for line in axes.get_legend().get_lines()]))


def test_a_class_has_one_colour_in_overlay_and_timeline(monkeypatch, tmp_path):
    """What is best changes: the order in which classes come up is not that of the whole video."""
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(6, 0.2), 20)
    made = prediction([f'class {k}' for k in range(6)], rows)
    with Overlay([tmp_path / 'o.gif'], made.labels) as overlay:
        panel, shown = overlay.panel(400, 300), {}
        for window in made.windows:
            overlay.window(window)
            panel._strip(0.0, overlay.history)
            for k, color in panel._colors.items():
                shown.setdefault(k, set()).add(color)
        _, given = of_timeline(monkeypatch, tmp_path, made, colors=overlay.colors)
    _, alone = of_timeline(monkeypatch, tmp_path, made)
    assert len(given) == 5 and given == alone and len(set(given.values())) == 5
    assert all(shown[int(name.split()[1])] == {color} for name, color in given.items())
    assert [int(name.split()[1]) for name in given] != sorted(shown, key=lambda k: COLORS.index(*shown[k]))[:5]


def test_classes_that_are_drawn_together_have_different_colours():
    colors = ClassColors()
    for classes in ([0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 6, 1], [12, 0, 6]):
        assert len(set(colors.of(classes))) == 3
    assert colors.of([0, 1, 2]) == list(COLORS[:3])


def contrast(color, other):
    def light(color):
        parts = [int(color[place:place + 2], 16) / 255 for place in (1, 3, 5)]
        return sum(weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
                   for weight, part in zip((0.2126, 0.7152, 0.0722), parts))
    bright, dark = sorted((light(color), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize('color', COLORS)
def test_colours_are_seen_on_black_and_on_white(color):
    assert contrast(color, '#ffffff') >= 3 and contrast(color, '#0c0e12') >= 3


STRANGE = ['$x_1 $open', 'caf\udce9', 'clear\x1b[2Jscreen', 'مرحبا', '_hidden', 'two\nlines']


@pytest.mark.draws
def test_any_name_is_drawn_on_videos_and_timelines(monkeypatch, tmp_path):
    for first in range(len(STRANGE)):
        labels = STRANGE[first:] + STRANGE[:first]
        made = prediction(labels, [[0.3, 0.25, 0.2, 0.1, 0.1, 0.05]] * 3, source='caf\udce9$\x1b[31m $.mp4')
        plot_timeline(made, tmp_path / 't.png', top_k=6)
        assert Image.open(tmp_path / 't.png').size == (1100, 396)
        history = History()
        history.add(made.windows[0])
        Panel(400, 300, labels, 3.0).draw(Image.new('RGB', (400, 300)), 1.0, history)
    axes, legend = of_timeline(monkeypatch, tmp_path, prediction(STRANGE, [[0.3, 0.25, 0.2, 0.1, 0.1, 0.05]]), top_k=6)
    assert set(legend) == {r'\$x_1 \$open', r'caf\xe9', r'clear\x1b[2Jscreen', 'مرحبا', '_hidden', r'two\nlines'}


def test_classes_of_one_name_are_two_curves(monkeypatch, tmp_path):
    axes, _ = of_timeline(monkeypatch, tmp_path, prediction(['same', 'same', 'c'], [[0.1, 0.6, 0.3]] * 2), top_k=3)
    assert len(axes.get_legend().get_texts()) == 3
    assert axes.lines[1].get_ydata()[0] == pytest.approx(0.6) and axes.lines[5].get_ydata()[0] == pytest.approx(0.1)


def test_what_is_printed_acts_on_no_terminal(tmp_path, capsys):
    video = tmp_path / 'caf\udce9\n\x1b[31m.mp4'
    os.rename(write_video(tmp_path / 'v.mp4', 8), video)
    assert predict(make_bundle(tmp_path / 'b'), video, tmp_path / 'gone\x1b[2J.mp4') == 1
    told = capsys.readouterr()
    assert r'caf\xe9\n\x1b[31m.mp4: ' in told.out and r'gone\x1b[2J.mp4' in told.err
    assert '\x1b' not in told.out + told.err


# ---------------------------------------------------------------- folders of videos

def test_a_folder_of_class_folders_is_its_videos(bundle, tmp_path, capsys):
    for name in ('jump', 'wave'):
        (tmp_path / 'videos' / name).mkdir(parents=True)
        for number in (10, 9):
            write_video(tmp_path / 'videos' / name / f'{name}{number}.mp4', 4)
    write_frames(tmp_path / 'videos' / 'wave' / 'frames', range(1, 5))
    (tmp_path / 'videos' / 'wave' / '._wave9.mp4').write_bytes(b'resource fork')
    (tmp_path / 'videos' / '__MACOSX').mkdir()
    (tmp_path / 'videos' / '__MACOSX' / 'x.mp4').write_bytes(b'')
    (tmp_path / 'videos' / 'notes.txt').write_text('x')
    (tmp_path / 'videos' / 'again').symlink_to(tmp_path / 'videos')
    expected = [str(tmp_path / 'videos' / name) for name in (
        'jump/jump9.mp4', 'jump/jump10.mp4', 'wave/frames', 'wave/wave9.mp4', 'wave/wave10.mp4')]
    assert find_videos([str(tmp_path / 'videos')]) == expected
    assert predict(bundle, tmp_path / 'videos', '--json', tmp_path / 'o.json', '--top-k', 1) == 0
    assert [video['path'] for video in json.loads((tmp_path / 'o.json').read_text())['videos']] == expected


def test_a_picture_beside_videos_does_not_hide_them(tmp_path):
    for name in ('a.mp4', 'poster.jpg', 'deep/b.mp4', '@eaDir/c.mp4', 'lost+found/d.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    assert find_videos([str(tmp_path)]) == [str(tmp_path / 'a.mp4'), str(tmp_path / 'deep/b.mp4')]


def test_a_folder_of_frames_is_another_once_a_frame_was_written_again(tmp_path):
    write_frames(tmp_path / 'frames', range(1, 4))
    before = stamp_of(tmp_path / 'frames')
    assert stamp_of(tmp_path / 'frames') == before and before[0] == 3
    first = sorted((tmp_path / 'frames').iterdir())[0]
    os.utime(first, ns=(0, before[1] + 10))
    assert stamp_of(tmp_path / 'frames') == [3, before[1] + 10]


def test_what_is_no_folder_of_videos_stays_what_it_is(tmp_path):
    frames = str(write_frames(tmp_path / 'frames', range(1, 5)))
    (tmp_path / 'flow').mkdir()
    (tmp_path / 'flow' / 'flow.json').write_text('{}')
    names = [frames, str(tmp_path / 'flow'), 'a.mp4', '-', 'rtsp://host/x', '/dev/video0', 'http://host/list.txt']
    assert find_videos(names) == names


# ---------------------------------------------------------------- interruptions

@pytest.fixture
def videos(tmp_path):
    (tmp_path / 'videos').mkdir()
    return [write_video(tmp_path / 'videos' / f'{name}.mp4', 12 + number) for number, name in enumerate('abcd')]


@pytest.fixture
def watched(monkeypatch):
    """Names of the videos that are predicted; at that in `watched.stop` the user presses Ctrl-C."""
    stream = Predictor.stream

    class Watched(list):
        stop = None

    seen = Watched()

    def streamed(self, source, **listeners):
        if Path(source).stem == seen.stop:
            raise KeyboardInterrupt
        seen.append(Path(source).stem)
        return stream(self, source, **listeners)

    monkeypatch.setattr(Predictor, 'stream', streamed)
    return seen


def test_an_interrupted_prediction_goes_on_and_leaves_the_same(bundle, videos, watched, tmp_path, capsys):
    (tmp_path / 'whole').mkdir()
    (tmp_path / 'out').mkdir()
    assert predict(bundle, *videos, '--json', tmp_path / 'whole.json', '--timeline', tmp_path / 'whole') == 0
    argv = [*videos, '--json', tmp_path / 'out.json', '--timeline', tmp_path / 'out']
    watched.clear()
    watched.stop = 'c'
    assert predict(bundle, *argv) == 130
    assert len((tmp_path / 'out.json.unfinished').read_text().splitlines()) == 1 + 2
    assert sorted(os.listdir(tmp_path / 'out')) == ['a.png', 'b.png']
    watched.stop = None
    assert predict(bundle, *argv) == 0
    assert watched == ['a', 'b', 'c', 'd']
    assert 'a.mp4: ' in (told := capsys.readouterr().out) and 'predicted before the interruption' in told
    whole, resumed = (json.loads((tmp_path / f'{name}.json').read_text()) for name in ('whole', 'out'))
    assert whole == resumed and len(resumed['videos']) == 4
    assert not (tmp_path / 'out.json.unfinished').exists()
    assert sorted(os.listdir(tmp_path / 'out')) == ['a.png', 'b.png', 'c.png', 'd.png']
    assert predict(bundle, *argv) == 2 and '--overwrite' in capsys.readouterr().err  # it is done


def test_what_another_prediction_left_is_not_gone_on_from(bundle, videos, watched, tmp_path, capsys):
    argv = [*videos, '--json', tmp_path / 'out.json']
    watched.stop = 'c'
    assert predict(bundle, *argv) == 130
    watched.stop = None
    assert predict(bundle, *argv, '--stride', 2) == 2
    assert 'out.json.unfinished: is of another prediction' in capsys.readouterr().err
    watched.clear()
    assert predict(bundle, *argv, '--stride', 2, '--overwrite') == 0
    assert watched == ['a', 'b', 'c', 'd'] and not (tmp_path / 'out.json.unfinished').exists()


def test_a_video_that_was_changed_or_whose_picture_is_gone_is_predicted_again(bundle, videos, watched, tmp_path):
    (tmp_path / 'out').mkdir()
    argv = [*videos, '--json', tmp_path / 'out.json', '--timeline', tmp_path / 'out']
    watched.stop = 'd'
    assert predict(bundle, *argv) == 130
    write_video(videos[0], 20)
    (tmp_path / 'out' / 'b.png').unlink()
    watched.stop = None
    watched.clear()
    assert predict(bundle, *argv) == 0 and watched == ['a', 'b', 'd']
    assert sorted(os.listdir(tmp_path / 'out')) == ['a.png', 'b.png', 'c.png', 'd.png']


def test_a_damaged_file_of_what_was_done_is_not_believed(bundle, videos, watched, tmp_path):
    argv = [*videos, '--json', tmp_path / 'out.json']
    watched.stop = 'c'
    assert predict(bundle, *argv) == 130
    path = tmp_path / 'out.json.unfinished'
    header, first, second = path.read_text().splitlines()
    path.write_text('\n'.join([header, json.dumps({**json.loads(first), 'number': 99}), second[:40]]))
    watched.stop = None
    watched.clear()
    assert predict(bundle, *argv) == 0 and watched == ['a', 'b', 'c', 'd']


@pytest.mark.draws
def test_letters_that_a_font_lacks_are_told_once_for_a_picture(tmp_path, caplog, recwarn):
    plot_timeline(prediction(['洗', '跑步', 'c'], [[0.3, 0.4, 0.3]]), tmp_path / 't.png')
    assert caplog.text.count('boxes replace the others') == 1 and not recwarn.list


def test_ctrl_c_ends_a_pipe_that_nobody_knows_the_end_of(bundle, tmp_path, monkeypatch, capsys):
    sent, pipe, done = write_video(tmp_path / 'a.ts', 300), tmp_path / 'pipe', threading.Event()
    os.mkfifo(pipe)

    def send():
        with contextlib.suppress(BrokenPipeError), open(pipe, 'wb', buffering=0) as stream:
            stream.write(sent.read_bytes())
            done.wait(60)  # as a camera that goes on

    def tell_few(predictor, out, tell_changes=command.tell_changes):
        tell, windows = tell_changes(predictor, out), []

        def take(window):
            tell(window)
            windows.append(window)
            if len(windows) == 20:
                raise KeyboardInterrupt
        return take

    monkeypatch.setattr(command, 'tell_changes', tell_few)
    threading.Thread(target=send, daemon=True).start()
    try:
        assert predict(bundle, pipe, '--json', tmp_path / 'seen.json') == 0
    finally:
        done.set()
    windows = json.loads((tmp_path / 'seen.json').read_text())['videos'][0]['windows']
    assert 20 <= len(windows) < 40
    told = capsys.readouterr().out
    seen = [line.split()[2] for line in told.splitlines() if line.startswith('  ') and ' s: ' in line]
    assert seen and all(one != other for one, other in zip(seen, seen[1:]))
    assert f'  {windows[0]["end"]:.2f} s: {seen[0]} (' in told
