"""The commands that predict: what they print and write, several videos, failures, and what is found before the work."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from bundles import CLIPS, LABELS, make_bundle, make_model
from epic_models import write_epic_model
from PIL import Image
from videos import make_broken, write_frames, write_video

from gluon_action.cli import predict as command
from gluon_action.cli import test_video_action_classifier as classifier
from gluon_action.cli.command import run
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.deploy.predicted import files as prediction_files

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'test_video_action_classifier.py'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A bundle and videos: a.mp4, b.mp4 of 2 frames, a folder of frames, and one that is broken."""
    folder = tmp_path_factory.mktemp('place')
    make_bundle(folder / 'bundle')
    write_video(folder / 'a.mp4', 30)
    write_video(folder / 'b.mp4', 2)
    write_frames(folder / 'frames', pattern='frame_%010d.jpg')
    make_broken('garbage', folder)
    return folder


def predict(place, *argv):
    return run(command.parse_args, command.main, [str(place / 'bundle'), *map(str, argv)])


def classify(*argv):
    return run(classifier.parse_args, classifier.main, [*map(str, argv)])


# ---------------------------------------------------------------- predict

def test_the_class_and_the_best_ones_are_printed(place, capsys):
    assert predict(place, place / 'a.mp4') == 0
    found = Predictor(place / 'bundle')(place / 'a.mp4')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{place / "a.mp4"}: {found.label} ({found.score:.2f})'
    assert [line.split() for line in lines[1:4]] == [[f'{value:.2f}', name] for name, value in found.top(3)]
    assert lines[4] == '  8 windows of 3 frames, one every 4'


def test_a_short_video_is_said_to_be_one(place, capsys):
    assert predict(place, place / 'b.mp4') == 0
    assert 'the video is shorter than a window: its last frame fills 1 place' in capsys.readouterr().out


def test_one_failure_does_not_stop_the_others_and_all_are_recorded(place, tmp_path, capsys):
    videos = [place / 'a.mp4', place / 'garbage.mp4', '/nowhere.mp4', place / 'frames']
    assert predict(place, *videos, '--json', tmp_path / 'all.json', '--overlay', tmp_path) == 1
    told, found = capsys.readouterr(), json.loads((tmp_path / 'all.json').read_text())
    assert '2 of 4 videos failed' in told.err and 'not a video of any known format' in told.err
    assert [('label' in video, 'error' in video) for video in found['videos']] == [(True, False), (False, True),
                                                                                  (False, True), (True, False)]
    assert 'does not exist' in found['videos'][2]['error'] and found['model']['stride'] == 4
    assert sorted(os.listdir(tmp_path)) == ['a.mp4', 'all.json', 'frames.mp4']
    assert told.out.count('wrote') == 3


def test_names_of_several_outputs_come_from_a_pattern(place, tmp_path):
    (tmp_path / 'o').mkdir()
    assert predict(place, place / 'a.mp4', place / 'b.mp4', '--overlay', tmp_path / 'o' / '{name}.gif',
                   '--timeline', tmp_path / 'o' / 't{number}.png') == 0
    assert sorted(os.listdir(tmp_path / 'o')) == ['a.gif', 'b.gif', 't1.png', 't2.png']


@pytest.mark.parametrize('flags, told', [
    (('--overlay', '{tmp}/o.mp4'), 'is one file for 2 videos'), (('--timeline', '{tmp}/o.png'), 'is one file for 2'),
    (('--overlay', '{tmp}/{{title}}.mp4'), 'only {name} and {number}'),
    (('--overlay', '{tmp}/{{name.mp4'), 'only {name} and {number}'),
    (('--overlay', '{tmp}/none/{{name}}.mp4'), 'there is no folder'),
    (('--overlay', '{tmp}/{{name}}.webm'), 'as .mp4 or .gif'), (('--timeline', '{tmp}/{{name}}.pdf'), 'end in .png'),
    (('--overlay', '{place}/{{name}}.mp4', '--overwrite'), 'is the video itself'),
    (('--overlay', '{tmp}/{{name}}.gif', '--json', '{tmp}/b.gif'), '/b.gif: is the file of --overlay too'),
    (('--json', '{tmp}'), 'is a folder'), (('--json', '{place}/a.mp4'), 'is the video itself'),
    (('--json', '{place}/bundle/labels.json'), 'exists; pass --overwrite')])
def test_outputs_that_cannot_be_are_refused_before_the_work(place, tmp_path, capsys, monkeypatch, flags, told):
    monkeypatch.setattr(Predictor, '__init__', None)  # nothing gets so far
    flags = [flag.format(tmp=tmp_path, place=place) for flag in flags]
    assert predict(place, place / 'a.mp4', place / 'b.mp4', *flags) == 2
    assert told in capsys.readouterr().err and os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_found_before_the_work(place, capsys, monkeypatch):
    monkeypatch.setattr(Predictor, '__init__', None)
    assert predict(place, place / 'a.mp4', '--json', '/proc/x.json') == 1
    assert '--json /proc/x.json: cannot be written' in capsys.readouterr().err


def test_videos_of_one_name_do_not_overwrite_each_other(place, tmp_path, capsys):
    (tmp_path / 'other').mkdir()
    again = write_video(tmp_path / 'other' / 'a.mp4', 5)
    assert predict(place, place / 'a.mp4', again, '--overlay', f'{tmp_path}/') == 2
    assert 'would both go to' in capsys.readouterr().err
    assert predict(place, place / 'a.mp4', again, '--overlay', tmp_path / '{number}_{name}.gif') == 0


@pytest.mark.parametrize('video, name', [('a/b.mp4', 'b'), ('a/b.c/', 'b.c'), ('-', 'stdin'), ('b.MKV', 'b'),
                                         ('rtsp://u@host:8/x?y=1', 'rtsp_u_host_8_x_y_1'), ('/dev/video0', 'video0')])
def test_names_of_videos(video, name):
    assert prediction_files.name_of(video) == name


def test_an_overlay_that_fails_is_no_file_and_the_video_is_a_failure(place, tmp_path, capsys, monkeypatch):
    from gluon_action.deploy.predicted import overlay

    def full(self, picture, seconds):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(overlay._Mp4, '_write', full)
    assert predict(place, place / 'a.mp4', '--overlay', tmp_path / 'o.mp4', '--json', tmp_path / 'o.json') == 1
    assert 'No space left on device' in capsys.readouterr().err and os.listdir(tmp_path) == ['o.json']


def test_an_encoder_that_fails_is_a_failure_of_that_video(place, tmp_path, capsys, monkeypatch):
    from gluon_action.deploy.predicted import overlay
    monkeypatch.setattr(overlay._Mp4, '_size', lambda *size: (40000, 2))  # more than H.264 knows
    assert predict(place, place / 'a.mp4', '--overlay', tmp_path / 'o.mp4', '--json', tmp_path / 'o.json') == 1
    assert 'o.mp4: cannot be written' in capsys.readouterr().err and os.listdir(tmp_path) == ['o.json']


def test_a_video_as_thin_as_a_line_is_drawn_on(place, tmp_path):
    thin = write_video(tmp_path / 'thin.mkv', 6, codec='ffv1', pix_fmt='yuv444p', size=(2000, 16))
    assert predict(place, thin, '--overlay', tmp_path / 'o.mp4') == 0
    with av.open(str(tmp_path / 'o.mp4')) as made:
        assert next(made.decode(video=0)).width == 8000


def test_ctrl_c_leaves_what_is_known_of_the_videos_before(place, tmp_path, monkeypatch, capsys):
    stream = Predictor.stream

    def interrupted(self, source, **listeners):
        if source.endswith('b.mp4'):
            raise KeyboardInterrupt
        return stream(self, source, **listeners)

    monkeypatch.setattr(Predictor, 'stream', interrupted)
    videos = place / 'a.mp4', place / 'b.mp4', place / 'frames'
    assert predict(place, *videos, '--json', tmp_path / 'o.json') == 130
    assert [video['path'] for video in json.loads((tmp_path / 'o.json').read_text())['videos']] == [str(videos[0])]
    assert 'o.json, 1 of 3 videos' in capsys.readouterr().out


def test_a_closed_standard_output_is_no_fault(place, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', None)
    assert predict(place, place / 'b.mp4', '--json', tmp_path / 'o.json') == 0 and (tmp_path / 'o.json').exists()


def test_frames_of_several_sizes_are_refused_by_the_name_of_the_video(place, tmp_path, capsys):
    Image.new('RGB', (96, 90)).save(write_frames(tmp_path / 'mixed', range(1, 9)) / 'img_00003.jpg')
    assert predict(place, tmp_path / 'mixed') == 2
    assert f'{tmp_path / "mixed"}: its frames differ in size' in capsys.readouterr().err


def test_a_changed_bundle_predicts_nothing(place, tmp_path, capsys):
    def spoil(folder):
        (folder / 'labels.json').write_text(json.dumps([*LABELS, 'more']))

    spoilt = make_bundle(tmp_path / 'b', change=spoil)
    assert run(command.parse_args, command.main, [str(spoilt), str(place / 'a.mp4')]) == 1
    assert 'names 4 classes, and the model gives 3' in capsys.readouterr().err
    model = place / 'bundle' / 'model.onnx'
    torn = make_bundle(tmp_path / 'c')
    (torn / 'model.onnx').write_bytes(model.read_bytes()[:-1] + b'x')
    assert run(command.parse_args, command.main, [str(torn), str(place / 'a.mp4')]) == 1
    assert 'was changed since the export' in capsys.readouterr().err


def test_numbers_that_cannot_be_are_refused(place, capsys):
    for flag in ('--top-k', '--stride', '--threads', '--batch-size'):
        with pytest.raises(SystemExit) as stop:
            predict(place, place / 'a.mp4', flag, '0')
        assert stop.value.code == 2 and f'{flag} must be 1 or more, got 0' in capsys.readouterr().err
    for number in ('0', 'nan', '-1', 'inf'):
        for flag in ('--fps', '--rolling'):
            with pytest.raises(SystemExit) as stop:
                predict(place, place / 'frames', flag, number)
            assert stop.value.code == 2 and f'{flag} must be a number above 0' in capsys.readouterr().err


def test_a_pipe_is_predicted(place):
    with open(place / 'a.mp4', 'rb') as stream, av.open(stream) as given, \
            av.open(str(place / 'a.mkv'), 'w') as written:
        out = written.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = out
                written.mux(packet)
    code = ('import sys; from gluon_action.cli.main import main; '
            f"sys.exit(main(['predict', {str(place / 'bundle')!r}, '-']))")
    answer = subprocess.run([sys.executable, '-c', code], input=(place / 'a.mkv').read_bytes(), capture_output=True)
    assert answer.returncode == 0, answer.stderr.decode()
    assert answer.stdout.decode().startswith('-: ') and b'8 windows' in answer.stdout


# ---------------------------------------------------------------- the script of epic_kitchens

def test_the_script_prints_the_class_and_draws_beside_the_folder(place, tmp_path, capsys):
    folder = write_frames(tmp_path / 'P01_11', pattern='frame_%010d.jpg')
    (tmp_path / 'class_names.json').write_text(json.dumps({'open bag': 0, 'take bag': 1, 'nothing': 2}))
    argv = [sys.executable, SCRIPT, f'--video_path={folder}', f'--onnx={place / "bundle" / "model.onnx"}',
            f'--class_names_path={tmp_path / "class_names.json"}']
    answer = subprocess.run(argv, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    found = Predictor(place / 'bundle', stride=1)(folder)
    names = {'rest': 'open bag', 'wave': 'take bag', 'jump': 'nothing'}
    assert answer.stdout.splitlines()[0] == f'{folder}: {names[found.label]} ({found.score:.2f})'
    assert sorted(os.listdir(tmp_path)) == ['P01_11', 'P01_11.gif', 'P01_11.mp4', 'class_names.json']
    with av.open(str(tmp_path / 'P01_11.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    assert classify(*argv[2:]) == 2 and 'exists; pass --overwrite' in capsys.readouterr().err


@pytest.mark.parametrize('names', [{'x': 0, 'y': 1, 'z': 2}, {'0': 'x', '1': 'y', '2': 'z'}, ['x', 'y', 'z'],
                                   {'z': 2, 'x': 0, 'y': 1}])
def test_class_names_in_either_direction(place, tmp_path, capsys, names):
    (tmp_path / 'names.json').write_text(json.dumps(names))
    assert classify('--video_path', place / 'a.mp4', '--onnx', place / 'bundle', '--class_names_path',
                    tmp_path / 'names.json', '--no-overlay') == 0
    index = Predictor(place / 'bundle', stride=1)(place / 'a.mp4').index
    assert f': {"xyz"[index]} (' in capsys.readouterr().out


def test_class_names_that_do_not_fit_are_refused(place, tmp_path, capsys):
    (tmp_path / 'names.json').write_text('{"open bag": 0, "take bag": 1}')
    for onnx in (place / 'bundle', write_epic_model(tmp_path / 'e.onnx', np.eye(3, dtype='float32'))):
        assert classify('--video_path', place / 'a.mp4', '--onnx', onnx, '--class_names_path',
                        tmp_path / 'names.json', '--no-overlay') == 1
        assert 'names 2 classes, and the model gives 3' in capsys.readouterr().err


def test_a_file_keeps_its_name_and_gets_overlays_of_another(place, tmp_path, capsys):
    video = write_video(tmp_path / 'v.mp4', 8)
    before = video.read_bytes()
    assert classify('--video_path', video, '--onnx', place / 'bundle') == 0
    assert sorted(os.listdir(tmp_path)) == ['v.mp4', 'v_predicted.gif', 'v_predicted.mp4']
    assert video.read_bytes() == before
    assert classify('--video_path', video, '--onnx', place / 'bundle', '--output', tmp_path / 'v') == 2
    assert 'is the video itself' in capsys.readouterr().err


def test_frames_come_in_natural_order(place, tmp_path, capsys):
    """Pictures 1..12 without leading zeros: by name 10 would come before 2."""
    folder = write_frames(tmp_path / 'f', range(1, 13), pattern='%d.png')
    padded = write_frames(tmp_path / 'p', range(1, 13), pattern='%04d.png')
    assert classify('--video_path', folder, '--onnx', place / 'bundle', '--no-overlay', '--stride', '1') == 0
    assert classify('--video_path', padded, '--onnx', place / 'bundle', '--no-overlay', '--stride', '1') == 0
    first, second = (line.split(': ')[1] for line in capsys.readouterr().out.splitlines() if ': ' in line)
    assert first == second
    windows = [Predictor(place / 'bundle', stride=1)(source).windows for source in (folder, padded)]
    np.testing.assert_array_equal(*([window.probabilities for window in found] for found in windows))


def test_the_original_projects_model_is_recognised_and_said_to_be_one(place, tmp_path, capsys):
    path = write_epic_model(tmp_path / 'epoch=17-step=233.onnx')
    (tmp_path / 'names.json').write_text('{"open bag": 0, "take bag": 1}')
    assert classify('--video_path', place / 'frames', '--onnx', path, '--class_names_path', tmp_path / 'names.json',
                    '--output', tmp_path / 'o') == 0
    said, answer, *_ = capsys.readouterr().out.splitlines()
    assert 'a model of fran6co/epic_kitchens' in said and 'resized to 16x16, a window is the last 8' in said
    assert re.fullmatch(r'.*/frames: (open|take) bag \(0\.\d\d\)', answer)
    with Image.open(tmp_path / 'o.gif') as gif:
        assert gif.n_frames > 5


def test_an_address_leaves_no_file_unless_one_is_named():
    assert classifier.overlay_paths('rtsp://host/x', None) == classifier.overlay_paths('-', None) == ()
    assert classifier.overlay_paths('rtsp://host/x', 'o.mp4') == (Path('o.mp4'), Path('o.gif'))
    assert classifier.overlay_paths('/no/such.mp4', None) == ()


def test_a_model_that_says_nothing_of_itself_is_refused(place, tmp_path, capsys):
    model = make_model(tmp_path / 'm.onnx', CLIPS, metadata=False)
    assert classify('--video_path', place / 'a.mp4', '--onnx', model, '--no-overlay') == 1
    assert "has no metadata 'preprocess'" in capsys.readouterr().err
