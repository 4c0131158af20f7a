"""Bundles are written whole or not at all, prove themselves on a clip, and refuse to pass when anything differs."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import CLIPS, make_bundle
from mxnet import gluon
from videos import write_frames, write_video

from gluon_action.cli.main import main
from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.bundle import format as bundle_format
from gluon_action.deploy.bundle.format import FILES, read_bundle, verify
from gluon_action.deploy.bundle.reference_clip import moving_discs, read_reference, settled
from gluon_action.deploy.bundle.write import new_bundle, write_bundle
from gluon_action.errors import BundleError, ModelError, OutputError, UsageError, VideoReadError
from gluon_action.files import describe
from gluon_action.nn import BatchNorm, Consensus, SameConv3D, SizedBlock

CLASSES = ['rest', 'wave', 'jump']


class Net(SizedBlock):
    """The least that scores clips."""

    num_classes = len(CLASSES)
    classes = None

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.conv = SameConv3D(4, 3, 2, in_channels=3, use_bias=False)
            self.bn = BatchNorm(ndim=5, in_channels=4)
            self.head = gluon.nn.Dense(self.num_classes, in_units=4)

    def hybrid_forward(self, F, x):
        return self.head(F.mean(F.relu(self.bn(self.conv(x))), axis=(2, 3, 4)))


class Segments(gluon.HybridBlock):
    """One score of the largest over three frames."""

    num_classes, num_segments, num_crop = len(CLASSES), 3, 1

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.head = gluon.nn.Dense(self.num_classes, in_units=3)
            self.consensus = Consensus(3, 1, 'max')

    def hybrid_forward(self, F, x):
        return self.consensus(self.head(F.mean(x, axis=(2, 3))))


def ready(net):
    mx.random.seed(0)
    net.initialize(mx.init.Normal(1))
    return net


@pytest.fixture(scope='module')
def net():
    return ready(Net())


@pytest.fixture(scope='module')
def whole(net, tmp_path_factory):
    return write_bundle(net, tmp_path_factory.mktemp('bundle') / 'net', preprocess=CLIPS, labels=CLASSES,
                        notes={'Weights': 'drawn by lot'})


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / 'net'))


def reseal(folder):
    """Write the manifest anew over files that were changed: all hashes are right."""
    manifest = json.loads((folder / 'manifest.json').read_text())
    manifest['files'] = describe(folder, FILES)
    (folder / 'manifest.json').write_text(bundle_format.seal(manifest))


def test_a_bundle_holds_all_that_is_needed(whole):
    assert sorted(os.listdir(whole)) == sorted([*FILES, 'manifest.json'])
    bundle = read_bundle(whole)
    assert bundle.preprocess == CLIPS and bundle.labels == CLASSES and bundle.name == 'Net'
    about = bundle.manifest
    assert (about['format'], about['opset'], about['ir_version'], about['precision']) == (2, 13, 8, 'float32')
    assert about['input']['shape'][0] == 'batch' and about['outputs'][0] == {'name': 'logits', 'shape': ['batch', 3]}
    assert about['checked']['input_shapes'][0] == [1, 3, 2, 8, 8] and about['checked']['difference'] <= 1e-4


def test_the_model_gives_what_the_network_gives_for_frames_of_a_video(net, whole):
    frames = np.random.default_rng(0).integers(0, 256, (6, 30, 40, 3), 'uint8')
    rows = CLIPS.apply(frames)
    logits, probabilities = onnxruntime.InferenceSession(whole / 'model.onnx').run(None, {'clip': rows})
    expected = net(mx.nd.array(rows)).asnumpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * abs(expected).max())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_the_model_alone_carries_what_the_folder_says(whole, tmp_path):
    alone = shutil.copy(whole / 'model.onnx', tmp_path / 'alone.onnx')
    bundle, folder = read_bundle(alone), read_bundle(whole)
    assert (bundle.preprocess, bundle.labels) == (folder.preprocess, folder.labels)
    assert onnx.load(alone).metadata_props


def test_the_card_tells_a_person_how_to_use_it(whole):
    text = (whole / 'model_card.md').read_text()
    for part in ('# Net', 'drawn by lot', '3: rest, wave, jump', 'clips of 2 frames, 2 apart', 'short side to 10',
                 'gluon-action predict', 'softmax', 'NCTHW, RGB'):
        assert part in text


def test_verifying_replays_the_clip(whole, capsys):
    verdict = verify(whole)
    assert verdict.ok and verdict.top1_equal and verdict.difference <= 1e-4 and verdict.seconds > 0
    assert main(['verify', str(whole)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'OK'


@pytest.mark.parametrize('factor, passes', [(1.00005, True), (1.001, False), (-1, False)])
def test_other_scores_than_expected_fail_the_replay(folder, capsys, factor, passes):
    with np.load(folder / 'reference.npz') as content:
        frames, logits = content['frames'], content['logits']
    np.savez(folder / 'reference.npz', frames=frames, logits=(logits * factor).astype('float32'))
    reseal(folder)
    assert verify(folder).ok == passes
    assert main(['verify', str(folder)]) == (0 if passes else 1)
    assert passes or 'NOT THE SAME' in capsys.readouterr().out


@pytest.mark.parametrize('change, equal', [(((0, 0, 9), (0, 0, -9)), True), (((0, 0, 0), (0, 0, 9)), False)])
def test_the_class_of_a_replay_is_that_of_all_crops_together(tmp_path, change, equal):
    folder = make_bundle(tmp_path / 'means')
    with np.load(folder / 'reference.npz') as content:
        frames, logits = content['frames'], content['logits']
    np.savez(folder / 'reference.npz', frames=frames, logits=(logits + change).astype('float32'))
    reseal(folder)
    assert verify(folder).top1_equal == equal


def test_the_same_scores_of_another_class_fail():
    assert not bundle_format.Verdict(difference=0., top1_equal=False, seconds=1.).ok


@pytest.mark.parametrize('content, told', [
    ({'frames': np.zeros((2, 10, 10, 3), 'uint8')}, 'logits'),
    ({'frames': np.zeros((2, 10, 10, 3)), 'logits': np.zeros((1, 3), 'float32')}, 'must hold frames uint8'),
    ({'frames': np.zeros((2, 10, 10, 3), 'uint8'), 'logits': np.full((1, 3), np.nan, 'float32')}, 'finite logits'),
    ({'frames': np.zeros((3, 10, 10, 3), 'uint8'), 'logits': np.zeros((1, 3), 'float32')}, 'not whole scores'),
    ({'frames': np.zeros((4, 10, 10, 3), 'uint8'), 'logits': np.zeros((1, 3), 'float32')}, 'expects scores (1, 3)'),
    ({'frames': np.array([{}]), 'logits': np.zeros((1, 3), 'float32')}, 'which are pickles and could run code')])
def test_a_reference_clip_of_something_else_is_refused(folder, content, told):
    np.savez(folder / 'reference.npz', **content)
    reseal(folder)
    with pytest.raises(BundleError) as caught:
        verify(folder)
    assert 'reference.npz' in str(caught.value) and told in str(caught.value)


def test_a_model_alone_has_nothing_to_replay(whole, tmp_path):
    shutil.copy(whole / 'model.onnx', tmp_path / 'alone.onnx')
    with pytest.raises(BundleError, match='alone.onnx: is a model alone'):
        verify(tmp_path / 'alone.onnx')


def test_verifying_and_rewriting_bundles_need_numpy_and_onnxruntime_alone(whole):
    code = """
import sys
for name in ('cv2', 'mxnet', 'gluoncv', 'matplotlib', 'PIL', 'onnx', 'tqdm', 'av'):
    sys.modules[name] = None
from gluon_action.cli.main import main
from gluon_action.deploy import bundle
sys.exit(main(['verify', sys.argv[1]]))
"""
    answer = subprocess.run([sys.executable, '-c', code, str(whole)], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2])
    assert answer.returncode == 0 and 'OK' in answer.stdout, answer.stderr


def test_a_network_of_several_rows_a_score_is_exported_as_such(tmp_path):
    rows = Preprocess(layout='NCHW', offsets=(0,), rows=3, crop=(8, 8), mean=(0,) * 3, std=(1,) * 3, crops=10,
                      resize={'width': 12, 'height': 10}, activation='sigmoid')
    folder = write_bundle(ready(Segments()), tmp_path / 'net', preprocess=rows)
    about = read_bundle(folder).manifest
    assert about['input']['rows_per_video'] == 3 and about['input']['shape'][0] == 'rows'
    with np.load(folder / 'reference.npz') as content:
        assert content['frames'].shape == (3, 10, 12, 3) and content['logits'].shape == (10, 3)
    with pytest.raises(UsageError, match='one score of 3 rows, and preprocess says rows=1'):
        write_bundle(ready(Segments()), tmp_path / 'other', preprocess=replace(rows, rows=1))


@pytest.mark.parametrize('labels, message', [(['a', 'b'], 'labels names 2 classes, and the model gives 3'),
                                             (['a', 'a', 'b'], "have the same name 'a'")])
def test_labels_must_be_those_of_the_network(net, tmp_path, labels, message):
    with pytest.raises(BundleError, match=message):
        write_bundle(net, tmp_path / 'net', preprocess=CLIPS, labels=labels)
    assert os.listdir(tmp_path) == []


def test_an_existing_bundle_is_replaced_only_when_asked(net, folder):
    with pytest.raises(UsageError, match='net exists; .*--overwrite'):
        write_bundle(net, folder, preprocess=CLIPS)
    write_bundle(net, folder, preprocess=replace(CLIPS, stride=9), overwrite=True)
    assert read_bundle(folder).preprocess.stride == 9 and os.listdir(folder.parent) == ['net']


def test_a_bundle_is_on_the_disk_before_it_gets_its_name(tmp_path, disk):
    with new_bundle(tmp_path / 'x') as part:
        (part / 'model.onnx').write_bytes(b'model')
    assert disk == [('sync', str(part / 'model.onnx'), 5), ('sync', str(part), None),
                    ('rename', str(part), str(tmp_path / 'x')), ('sync', str(tmp_path), None)]


def test_of_two_exports_to_one_folder_the_second_does_not_replace_the_first(tmp_path):
    with pytest.raises(UsageError, match='x exists; name another folder'), new_bundle(tmp_path / 'x') as part:
        (part / 'model.onnx').touch()
        make_bundle(tmp_path / 'x')
    assert read_bundle(tmp_path / 'x').labels and os.listdir(tmp_path) == ['x']


def test_numbers_that_cannot_be_are_refused(tmp_path, capsys):
    for flag, value in (('--num-classes', '0'), ('--stride', '0'), ('--input-size', '-8'), ('--clip-length', '0'),
                        ('--clip-stride', '0'), ('--short-side', '-1')):
        with pytest.raises(SystemExit) as stop:
            main(['export', 'resnet18_v1b_custom', '--no-weights', '--out', str(tmp_path / 'x'), flag, value])
        assert stop.value.code == 2 and f'{flag} must be ' in capsys.readouterr().err


@pytest.mark.parametrize('content', ['thesis.txt', None])
def test_a_folder_of_other_things_is_never_replaced(net, tmp_path, content):
    folder = tmp_path / 'net'
    folder.mkdir()
    if content:
        (folder / content).touch()
    with pytest.raises(UsageError, match='not what an export wrote'):
        write_bundle(net, folder, preprocess=CLIPS, overwrite=True)
    assert os.listdir(folder) == ([content] if content else [])


def test_a_bundle_with_the_users_files_in_it_is_not_replaced(net, folder):
    (folder / 'overlay.mp4').touch()
    with pytest.raises(UsageError, match='not what an export wrote'):
        write_bundle(net, folder, preprocess=CLIPS, overwrite=True)


@pytest.mark.parametrize('dropping', ['.DS_Store', '._model.onnx', 'Thumbs.db'])
def test_what_file_managers_leave_does_not_keep_a_bundle_from_being_replaced(net, folder, dropping):
    (folder / dropping).touch()
    write_bundle(net, folder, preprocess=replace(CLIPS, stride=9), overwrite=True)
    assert read_bundle(folder).preprocess.stride == 9 and not (folder / dropping).exists()


def test_a_disk_that_fills_up_keeps_what_was_there(net, folder):
    before = (folder / 'manifest.json').read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match='cannot be written: File too large'):
            write_bundle(net, folder, preprocess=CLIPS, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / 'manifest.json').read_bytes() == before and os.listdir(folder.parent) == ['net']


def test_a_place_that_cannot_be_written_is_an_output_error(net, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OutputError, match='Not a directory'):
        write_bundle(net, tmp_path / 'file' / 'net', preprocess=CLIPS)


def test_nothing_is_left_of_a_bundle_that_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), new_bundle(tmp_path / 'x') as part:
        (part / 'model.onnx').touch()
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_model_that_gives_something_else_on_the_clip_is_not_kept(net, tmp_path, monkeypatch):
    monkeypatch.setitem(bundle_format.TOLERANCES, 'float32', -1)
    with pytest.raises(ModelError, match='on the reference clip .* not kept'):
        write_bundle(net, tmp_path / 'net', preprocess=CLIPS)
    assert os.listdir(tmp_path) == []


# The reference clip.

SHAPES = [CLIPS, replace(CLIPS, resize={}), replace(CLIPS, resize={'width': 15, 'height': 9}),
          replace(CLIPS, layout='NCHW', offsets=(0,), rows=3), replace(CLIPS, crops=3, resize={'short_side': 8}),
          replace(CLIPS, crops=10, resize={'width': 15, 'height': 9}),
          Preprocess(layout='NCTHW', modality='flow', offsets=tuple(range(8)), crop=(8, 8), mean=(0, 0), std=(1, 1),
                     flow_bound=20)]


@pytest.mark.parametrize('preprocess', SHAPES)
def test_discs_move_over_the_frames_of_one_score(preprocess):
    frames = moving_discs(preprocess)
    assert len(frames) == preprocess.rows * len(preprocess.offsets)
    assert len(preprocess.apply(frames)) == preprocess.rows * preprocess.crops
    assert preprocess.resized(frames) is frames
    assert len(frames) == 1 or (frames[0] != frames[-1]).any()
    np.testing.assert_array_equal(frames, moving_discs(preprocess))


def test_a_generated_clip_of_full_size_is_small(tmp_path):
    frames = moving_discs(replace(CLIPS, offsets=tuple(range(64)), crop=(224, 224), resize={'short_side': 256}))
    np.savez_compressed(tmp_path / 'x.npz', frames=frames)
    assert (tmp_path / 'x.npz').stat().st_size < 200_000


@pytest.mark.parametrize('preprocess', SHAPES[:-1])
@pytest.mark.parametrize('height, width', [(64, 96), (97, 61), (398, 224), (50, 50)])
def test_frames_of_a_video_are_kept_at_a_size_that_stays(preprocess, height, width):
    count = preprocess.rows * len(preprocess.offsets)
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), 'uint8')
    kept = settled(preprocess, frames)
    assert preprocess.resized(kept) is kept and len(preprocess.cut(kept))


def test_a_clip_of_a_video_comes_from_its_middle(tmp_path):
    from videos import read_barcode
    video = write_video(tmp_path / 'x.mp4', 20)
    assert [read_barcode(frame) for frame in read_reference(video, CLIPS)] == [8, 10]
    rows = replace(CLIPS, layout='NCHW', offsets=(0,), rows=2)
    assert [read_barcode(frame) for frame in read_reference(video, rows)] == [4, 14]
    folder = write_frames(tmp_path / 'frames', range(1, 3))
    assert [read_barcode(frame) for frame in read_reference(folder, CLIPS)] == [1, 2]
    with pytest.raises(VideoReadError, match='does not exist'):
        read_reference(tmp_path / 'nothing', CLIPS)
    with pytest.raises(UsageError, match='must have the 2 frames of one score, it has 3'):
        settled(CLIPS, np.zeros((3, 20, 20, 3), 'uint8'))


def test_a_clip_of_the_users_goes_into_the_bundle(net, tmp_path):
    frames = read_reference(write_video(tmp_path / 'x.mp4', 20), CLIPS)
    folder = write_bundle(net, tmp_path / 'net', preprocess=CLIPS, reference=frames)
    with np.load(folder / 'reference.npz') as content:
        assert content['frames'].shape == (2, 10, 15, 3)
    assert verify(folder).ok


def test_int8_may_differ_by_more(tmp_path):
    def spoil(folder):
        with np.load(folder / 'reference.npz') as content:
            frames, logits = content['frames'], content['logits']
        np.savez(folder / 'reference.npz', frames=frames, logits=logits * np.float32(1.02))
    folder = make_bundle(tmp_path / 'x', change=spoil)
    assert not verify(folder).ok
    manifest = json.loads((folder / 'manifest.json').read_text())
    (folder / 'manifest.json').write_text(bundle_format.seal({**manifest, 'precision': 'int8'}))
    assert verify(folder).ok
