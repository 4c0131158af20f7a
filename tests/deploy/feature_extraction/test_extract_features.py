"""Features of a user's own videos: which frames, through what, into which bytes; what fails, and what is refused."""
import csv
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import mxnet as mx
import numpy as np
import pytest
from tiny import NAME, forget, register_tiny, save_tiny
from videos import write_frames, write_video

from gluon_action.cli import main as commands
from gluon_action.data.tfrecords.examples import parse_sequence_example
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.data.tfrecords.features.origin import origin_of
from gluon_action.data.tfrecords.framing import RecordFile
from gluon_action.deploy.feature_extraction import backbone
from gluon_action.deploy.feature_extraction.backbone import Backbone, frame_numbers
from gluon_action.deploy.feature_extraction.pca import load_pca
from gluon_action.deploy.feature_extraction.videos_csv import read_videos_csv
from gluon_action.errors import AnnotationError, UsageError, VideoReadError, WeightsError
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features import build
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.model_zoo.loading.params_file import read_parameters, write_arrays

FEATURES = (('rgb', 6), ('audio', 128))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Three videos, one that is broken, weights, and a list of all four."""
    folder = tmp_path_factory.mktemp('extract')
    register_tiny()
    here = os.getcwd()
    os.chdir(folder)
    for name, frames, fps in (('a.mp4', 60, 10), ('b.mp4', 25, 10), ('c,d.mp4', 80, 12)):
        write_video(folder / name, frames, fps=fps)
    (folder / 'broken.mp4').write_bytes(b'garbage' * 99)
    save_tiny(folder, 5, 1)[0].rename(folder / 'weights.params')
    save_tiny(folder, 5, 2)[0].rename(folder / 'others.params')
    (folder / 'list.csv').write_text('a.mp4,3;1\nbroken.mp4,2\n\n"c,d.mp4",0\nb.mp4\n')
    (folder / 'good.csv').write_text('a.mp4,3;1\n"c,d.mp4",0\nb.mp4\n')
    yield folder
    os.chdir(here)
    forget(NAME)


def extract(output, *flags, listed='list.csv', pca=('--fit_pca', 'pca.npz'), params='weights.params'):
    weights = ('--backbone_params', params) if params else ()
    return commands.main(['youtube8m', 'extract_features', '--input_videos_csv', listed, '--output_tfrecords_file',
                          str(output), '--backbone', NAME, *weights, *pca, '--pca_size', '6', *flags])


@pytest.fixture(scope='module')
def extracted(place):
    assert extract('out.tfrecord') == 0
    return place / 'out.tfrecord'


def contents(path):
    file = RecordFile(path)
    records = [parse_sequence_example(file.read(index)) for index in range(len(file))]
    return {bytes(context['id'][0]).decode(): (context, lists) for context, lists in records}


def by_hand(path, numbers, pca):
    """Bytes of the features of these frames, from another decoder and the equations in float64."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    rows = np.stack([(cv2.resize(frames[number], (224, 224)) / 255. - mean) / std for number in numbers])
    backbone = Backbone(NAME, params='weights.params')
    seen = []
    backbone._net.layers.register_forward_hook(lambda block, inputs, output: seen.append(output.asnumpy()))
    backbone._net.hybridize(False)
    backbone._net(mx.nd.array(rows.transpose(0, 3, 1, 2)))
    x = seen[0].astype(float)
    x = (x - pca.mean) @ pca.eigenvectors.astype(float) / np.sqrt(pca.eigenvalues.astype(float) + 1e-4)
    return (np.clip(x, -2, 2) + 2) * 255 / 4


def test_records_hold_a_frame_a_second_through_backbone_and_pca(extracted, place):
    found, pca = contents(extracted), load_pca('pca.npz')
    assert list(found) == ['a.mp4', 'c,d.mp4', 'b.mp4']
    for path, numbers in (('a.mp4', [0, 10, 20, 30, 40, 50]), ('b.mp4', [0, 10, 20]),
                          ('c,d.mp4', [0, 12, 24, 36, 48, 60, 72])):
        _, lists = found[path]
        assert lists.keys() == {'rgb', 'audio'} and lists['audio'] is not None
        rows = FeatureRecords(extracted, features=FEATURES, num_classes=5, need_labels=False)
        index = list(found).index(path)
        stored = np.rint((rows.load(index)[0][0, :len(numbers), :6] - 4 / 512 + 2) * 255 / 4)
        expected = by_hand(path, numbers, pca)
        assert np.abs(stored - expected).max() < 0.6  # half a level is what rounding takes
        assert len(np.unique(stored)) > 9


def test_readers_take_the_records_with_their_labels(extracted):
    records = FeatureRecords(extracted, features=FEATURES, num_classes=5, need_labels=False)
    read = [records.load(index) for index in range(3)]
    assert [features.any(-1).sum() for features, _ in read] == [6, 7, 3]
    assert [label.tolist() for _, label in read[:2]] == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert np.isnan(read[2][1]).all()


def test_features_of_ones_own_videos_feed_predictions(extracted, place):
    flags = Architecture(model='FrameLevelLogisticModel', feature_names='rgb,audio', feature_sizes='6,128',
                         frame_features=True, num_classes=5)
    arrays = {key: parameter.data().asnumpy() for key, parameter in
              build(flags, seed=1)._collect_params_with_prefix().items()}
    write_stored(place / 'inference_model', [(flags, arrays)])
    assert commands.main(['youtube8m', 'inference', '--train_dir', str(place), '--input_data_pattern', 'out.tfrecord',
                          '--output_file', 'tags.csv', '--top_k', '2', '--num_readers', '1']) == 0
    with open('tags.csv', newline='') as file:
        lines = list(csv.reader(file))
    assert [line[0] for line in lines] == ['VideoId', 'a.mp4', 'c,d.mp4', 'b.mp4']
    records = FeatureRecords(extracted, features=FEATURES, num_classes=5, need_labels=False)
    rows = records.load(2)[0][0, :3].astype(float)
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(0)
    odds = mean @ arrays['fully_connected.weights'].astype(float) + arrays['fully_connected.biases']
    best, probability = lines[3][1].split(' ')[:2]
    assert int(best) == odds.argmax() and abs(float(probability) - 1 / (1 + np.exp(-odds.max()))) < 1e-5


def test_no_audio_is_the_level_next_to_zero_or_left_out(extracted, place):
    records = FeatureRecords(extracted, features=FEATURES, num_classes=5, need_labels=False)
    audio = records.load(0)[0][0, :6, 6:]
    assert 0 < np.abs(audio).max() < 4e-5
    assert extract('silent.tfrecord', '--insert_zero_audio_features=false') == 0
    assert all(lists.keys() == {'rgb'} for _, lists in contents('silent.tfrecord').values())


def test_the_manifest_says_what_became_of_each_video_and_names_the_pca(extracted, place):
    manifest = json.loads(Path('out.tfrecord.manifest.json').read_text())
    about = {entry['input']: entry['about'] for entry in manifest['inputs']}
    assert list(about) == ['a.mp4', 'broken.mp4', 'c,d.mp4', 'b.mp4']
    assert about['a.mp4'] == {'frames': 6, 'seconds': 6.0, 'audio': False, 'labels': [3, 1]}
    assert about['b.mp4']['labels'] is None
    assert 'not a video' in about['broken.mp4']['skipped']
    pca = load_pca('pca.npz')
    assert manifest['settings']['pca'] == {'sha256': pca.sha256, 'size': 6} and pca.about['frames'] == 16
    assert manifest['settings']['backbone']['name'] == NAME
    assert origin_of(['out.tfrecord']) == {name: manifest['settings'][name] for name in ('backbone', 'pca')}


@pytest.mark.parametrize('length, fps, per_second, most, numbers', [
    (60, 10, 1, 300, [0, 10, 20, 30, 40, 50]), (61, 10, 1, 300, [0, 10, 20, 30, 40, 50, 60]), (1, 25, 1, 300, [0]),
    (25, 25, 1, 300, [0]), (26, 25, 1, 300, [0, 25]), (90, 29.97, 1, 300, [0, 30, 60]),
    (60, 10, 2, 300, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55]), (60, 10, 0.2, 300, [0, 50]),
    (5, 10, 100, 300, [0, 1, 2, 3, 4]), (5, 10, 100, 3, [0, 1, 2]), (7, 2.5, 1, 300, [0, 2, 5]),
    (100000, 10, 1, 300, list(range(0, 3000, 10))), (9000, 30000 / 1001, 1, 300, None)])
def test_the_frames_are_those_of_each_second(length, fps, per_second, most, numbers):
    shown = np.arange(length) / fps
    found = frame_numbers(shown, per_second, most)
    assert found == (np.rint(np.arange(301) * fps).astype(int).tolist()[:most] if numbers is None else numbers)


def test_frames_that_are_held_are_taken_once():
    shown = np.array([0, 0.2, 0.9, 4.1, 4.2, 5.0, 5.04, 9.5])
    assert frame_numbers(shown, 1, 300) == [0, 3, 5, 7]
    assert frame_numbers(shown, 2, 300) == [0, 2, 3, 5, 7]
    assert frame_numbers(np.array([0, 0.999, 1.999, 2.5, 3.0]), 1, 300) == [0, 1, 2, 4]  # rounded times


def test_frames_of_a_video_are_taken_by_their_time_and_not_by_their_number(place):
    with av.open(str(place / 'slow.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'bf': '0'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for number in range(20):  # ten frames a second, then one
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 10 * number, np.uint8), format='rgb24')
            frame.pts = number if number < 10 else 10 * (number - 9)
            frame.time_base = Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = Backbone(NAME, params='weights.params').read('slow.mp4', frames_per_second=1, max_frames=300)
    np.testing.assert_allclose(frames.seconds, np.arange(11), atol=1e-3)
    assert 10 <= frames.length < 11
    assert np.abs(frames.pictures.mean((1, 2, 3)) - 10 * np.array([0, *range(10, 20)])).max() < 6


def test_a_folder_of_pictures_gives_all_of_them(place):
    write_frames(place / 'pictures', range(1, 6))
    Path('pictures.csv').write_text('pictures,1\n')
    assert extract('pictures.tfrecord', listed='pictures.csv', pca=('--pca', 'pca.npz')) == 0
    (entry,) = json.loads(Path('pictures.tfrecord.manifest.json').read_text())['inputs']
    assert entry['about'] == {'frames': 5, 'seconds': None, 'audio': False, 'labels': [1]} and entry['bytes'] > 0


def test_shards_and_an_interrupted_run_give_the_same_bytes(extracted, place, capsys):
    for index in (2, 1):
        assert extract('shared.tfrecord', '--shard', f'{index}/2', pca=('--pca', 'pca.npz')) == 0
    assert 'gluon-action youtube8m merge shared.tfrecord' in capsys.readouterr().out
    assert not Path('shared.tfrecord').exists()
    assert commands.main(['youtube8m', 'merge', 'shared.tfrecord']) == 0
    assert Path('shared.tfrecord').read_bytes() == extracted.read_bytes()
    one, other = (json.loads(Path(f'{name}.tfrecord.manifest.json').read_text()) for name in ('out', 'shared'))
    assert one['inputs'] == other['inputs'] and one['settings'] == other['settings']
    assert extract('again.tfrecord', '--shard', '1/3', pca=('--pca', 'pca.npz')) == 0
    assert extract('again.tfrecord', pca=('--pca', 'pca.npz')) == 0
    assert 'made of 4 inputs, 2 of them before' in capsys.readouterr().out
    assert Path('again.tfrecord').read_bytes() == extracted.read_bytes()


def test_two_pcas_or_backbones_are_not_mixed_in_one_output(extracted, place, capsys):
    assert extract('mixed.tfrecord', '--shard', '1/2', pca=('--pca', 'pca.npz')) == 0
    other = ('--fit_pca', 'other.npz', '--max_frames', '5', '--fit_pca_only')
    assert extract('x.tfrecord', listed='good.csv', pca=other) == 0
    capsys.readouterr()
    sha256s = [load_pca(name).sha256 for name in ('pca.npz', 'other.npz')]
    assert extract('mixed.tfrecord', '--shard', '2/2', pca=('--pca', 'other.npz')) == 1
    told = capsys.readouterr().err
    assert f"settings pca sha256 '{sha256s[0]}' there, '{sha256s[1]}' now" in told and 'choose another output' in told
    assert extract('mixed.tfrecord', pca=('--pca', 'pca.npz'), params='others.params') == 2
    assert 'was fitted to features of another backbone (its sha256)' in capsys.readouterr().err


def test_a_pca_that_was_fitted_to_these_videos_is_taken_and_another_is_not_replaced(extracted, place, capsys):
    before = Path('pca.npz').read_bytes()
    assert extract('second.tfrecord') == 0
    assert Path('pca.npz').read_bytes() == before and Path('second.tfrecord').read_bytes() == extracted.read_bytes()
    assert extract('third.tfrecord', listed='good.csv') == 2
    assert 'pca.npz: exists, and was fitted to something else' in capsys.readouterr().err
    assert extract('third.tfrecord', '--shard', '1/2', pca=('--fit_pca', 'new.npz')) == 2
    assert 'is fitted by one process' in capsys.readouterr().err
    assert not Path('new.npz').exists() and not Path('third.tfrecord.parts').exists()
    assert extract('third.tfrecord', '--shard', '1/2') == 0  # the file is there


def test_a_pca_is_fitted_into_a_folder_that_is_made_first(extracted, place, capsys, monkeypatch):
    monkeypatch.setenv('HOME', str(place / 'home'))
    assert extract('x.tfrecord', listed='good.csv', pca=('--fit_pca=~/own/pca.npz', '--fit_pca_only')) == 0
    assert load_pca('home/own/pca.npz').about['frames'] == 16 and not Path('~').exists()
    assert 'home/own/pca.npz: the PCA of these videos' in capsys.readouterr().out


def test_nothing_is_fitted_when_the_output_or_the_pca_cannot_be_written(extracted, place, capsys, monkeypatch):
    def read(*_, **__):
        raise AssertionError('a video was read')
    monkeypatch.setattr(Backbone, 'read', read)
    assert extract('out.tfrecord', pca=('--fit_pca', 'unfitted.npz')) == 1
    assert 'out.tfrecord: exists; choose another name' in capsys.readouterr().err
    assert extract('x.tfrecord', pca=('--fit_pca', 'weights.params/unfitted.npz')) == 1
    assert 'weights.params/unfitted.npz: cannot be written' in capsys.readouterr().err
    assert extract('weights.params/x.tfrecord', pca=('--fit_pca', 'unfitted.npz')) == 1
    assert 'weights.params/x.tfrecord: cannot be written' in capsys.readouterr().err
    audio = ('--audio_params', 'nothing.pth', '--audio_pca', 'nothing.npz')
    assert extract('x.tfrecord', *audio, pca=('--fit_pca', 'unfitted.npz')) in (1, 2)
    assert 'nothing.pth' in capsys.readouterr().err and not Path('unfitted.npz').exists()


def test_means_are_written_instead_of_frames(place, extracted):
    assert extract('video.tfrecord', '--skip_frame_level_features', pca=('--pca', 'pca.npz')) == 0
    records = FeatureRecords('video.tfrecord', features=(('mean_rgb', 6), ('mean_audio', 128)), num_classes=5,
                             frame_level=False, need_labels=False)
    found = records.load(0)[0][0, 0]
    frames = by_hand('a.mp4', [0, 10, 20, 30, 40, 50], load_pca('pca.npz')) * 4 / 255 - 2
    assert len(records) == 3 and np.abs(found[:6] - frames.mean(0)).max() < 1e-3 and not found[6:].any()


def test_keys_are_called_as_told(place, extracted):
    assert extract('keys.tfrecord', '--labels_feature_key', 'tags', '--image_feature_key=pictures',
                   '--video_file_feature_key', 'video_id', pca=('--pca', 'pca.npz')) == 0
    context, lists = parse_sequence_example(RecordFile('keys.tfrecord').read(0))
    assert context.keys() == {'tags', 'video_id'} and lists.keys() == {'pictures', 'audio'}


def test_videos_that_cannot_be_read_end_the_run_when_told(place, extracted, capsys, caplog):
    assert extract('strict.tfrecord', '--shard', '1/1', pca=('--pca', 'pca.npz')) == 0  # leaves it out
    assert extract('strict.tfrecord', '--on_error', 'raise', pca=('--pca', 'pca.npz')) == 1
    assert 'broken.mp4' in capsys.readouterr().err and not Path('strict.tfrecord').exists()
    Path('bad.csv').write_text('broken.mp4,1\nnothing.mp4,1\n')
    assert extract('bad.tfrecord', listed='bad.csv', pca=('--pca', 'pca.npz')) == 1
    assert capsys.readouterr().out.splitlines()[0] == \
        '0 videos of 0 frames, 2 skipped; why stands in bad.tfrecord.manifest.json'
    assert [text.split(':')[:2] for text in caplog.messages if 'nothing.mp4' in text] == [['skipped', ' nothing.mp4']]
    caplog.clear()
    assert extract('bad2.tfrecord', listed='bad.csv', pca=('--fit_pca', 'bad.npz')) == 2
    assert '0 frames of readable videos cannot tell 6 components' in capsys.readouterr().err
    assert len(caplog.messages) == 1 and 'left out of the PCA: 2 videos, first broken.mp4' in caplog.messages[0]
    assert extract('bad.tfrecord.1', '--shard', '1/1', listed='bad.csv', pca=('--pca', 'pca.npz')) == 1
    assert 'why stands in bad.tfrecord.1.manifest.json once it is joined' in capsys.readouterr().out


@pytest.mark.parametrize('flags, told', [
    (('--backbone', 'i3d_rgb_kinetics400'), 'takes clips'), (('--backbone', 'TimesFormer'), 'no model'),
    (('--use_pretrained',), '--backbone_params: contradicts --use_pretrained'),
    (('--fit_pca', 'x.npz', '--pca', 'pca.npz'), '--pca: contradicts --fit_pca'),
    (('--pca', 'nothing.npz', '--fit_pca', ''), 'nothing.npz: does not exist'),
    (('--fit_pca', '', '--model_dir', '.'), '--model_dir .: does not hold mean.npy'),
    (('--fit_pca', 'x.npz', '--pca_size', '17'), '--pca_size 17: tiny_ucf101 gives 16 features'),
    (('--fit_pca', 'x.npz', '--pca_size', '16'), '16 frames of readable videos cannot tell 16'),
    (('--fit_pca', '', '--pca', 'pca.npz', '--pca_size', '7'), '--pca_size 7: the PCA has 6'),
    (('--frames_per_second', '0'), '--frames_per_second must be above 0'), (('--max_frames', '0'), 'must be 1 or more'),
    (('--image_feature_key', 'audio'), 'none of them audio'), (('--labels_feature_key', 'id'), 'names that differ'),
    (('--fit_pca', '', '--fit_pca_only'), '--fit_pca_only: is about --fit_pca'), (('--shard', '0/2'), 'I from 1 to N'),
    (('--ray', 'local', '--shard', '1/2'), 'leave --shard out'), (('--batchsize', '3'), 'did you mean --batch_size')])
def test_what_cannot_be_is_refused_before_a_video_is_read(place, extracted, capsys, flags, told):
    try:
        code = extract('never.tfrecord', *flags)
    except SystemExit as stop:  # by the parser
        code = stop.code
    assert code == 2 and told in capsys.readouterr().err
    assert not list(place.glob('never.tfrecord*')) and not Path('x.npz').exists()


def test_a_network_without_weights_for_images_needs_some(place, capsys):
    assert extract('never.tfrecord', params='') == 2
    assert f'--backbone {NAME}: has no weights for images to start from; pass --backbone_params' in \
        capsys.readouterr().err


def test_weights_that_cannot_be_had_are_told_with_the_way_out_first(place, monkeypatch):
    def get_model(*_, **__):
        raise WeightsError('none of 4 sets can be had: ' + 'https://example.org/weights: no connection; ' * 99)
    monkeypatch.setattr(backbone, 'get_model', get_model)
    monkeypatch.setenv('MXNET_HOME', str(place / 'mxnet'))
    for flags, name in (({}, 'inceptionv3'), ({'use_pretrained': True}, 'inceptionv3_kinetics400')):
        with pytest.raises(WeightsError, match='--backbone inceptionv3_kinetics400: its weights are not available; '
                                               f'pass .*--backbone_params.*models download {name} --root FOLDER.*'
                                               'mxnet/models here. What happened: none of 4 sets') as caught:
            Backbone('inceptionv3_kinetics400', **flags)
        assert len(str(caught.value)) < 700


def test_an_output_that_exists_is_kept_unless_told(place, extracted, capsys):
    before = extracted.read_bytes()
    assert extract('out.tfrecord', '--max_frames', '2', pca=('--pca', 'pca.npz')) == 1
    assert 'out.tfrecord: exists' in capsys.readouterr().err and extracted.read_bytes() == before
    shutil.copy(extracted, 'copy.tfrecord')
    assert extract('copy.tfrecord', '--max_frames', '2', '--overwrite', pca=('--pca', 'pca.npz')) == 0
    assert len(Path('copy.tfrecord').read_bytes()) < len(before)


def test_weights_over_segments_are_those_of_single_frames(place):
    arrays = read_parameters('weights.params')
    write_arrays('segments.params', {**arrays, 'tsn_consensus.weight': np.ones((1, 3), np.float32)})
    alone, over = (Backbone(NAME, params=name) for name in ('weights.params', 'segments.params'))
    assert alone.about == over.about


def test_reading_frames_of_what_is_no_video_is_its_error(place):
    with pytest.raises(VideoReadError, match='broken.mp4'):
        Backbone(NAME, params='weights.params').read('broken.mp4', frames_per_second=1, max_frames=3)


@pytest.mark.parametrize('text, told', [
    ('a.mp4,1\na.mp4,2\n', 'line 2: a.mp4 stands in line 1 already'), ('a.mp4,1,2\n', 'line 1: must be path,labels'),
    ('\n,3\n', 'line 2: must be path,labels'), ('a.mp4,-1\n', "from 0 with semicolons between, got '-1'"),
    ('a.mp4,1;;2\n', 'whole numbers'), ('a.mp4,1.5\n', 'whole numbers'), ('a.mp4,cat\n', "got 'cat'"),
    ('', 'lists no video'), ('\n\n', 'lists no video'), ('"a.mp4,1\n', 'line 1'), ('a.mp4,¹\n', 'whole numbers')])
def test_lines_that_are_none_of_a_video_are_named(tmp_path, text, told):
    (tmp_path / 'x.csv').write_text(text)
    with pytest.raises(AnnotationError, match=rf'x.csv.*{told}'):
        read_videos_csv(tmp_path / 'x.csv')


def test_a_list_is_read_with_spaces_and_marks_and_one_that_is_not_there_named(tmp_path):
    (tmp_path / 'x.csv').write_bytes('\ufeffclips/ä.mp4, 3 ; 10 \r\nb.mp4,\r\n'.encode())
    assert [(video.path, video.labels) for video in read_videos_csv(tmp_path / 'x.csv')] == [
        ('clips/ä.mp4', (3, 10)), ('b.mp4', None)]
    with pytest.raises(AnnotationError, match='nothing.csv: cannot be read: No such file'):
        read_videos_csv(tmp_path / 'nothing.csv')
    with pytest.raises(UsageError, match='--backbone_params: contradicts'):
        Backbone('resnet18_v1b_ucf101', params='x', use_pretrained=True)
