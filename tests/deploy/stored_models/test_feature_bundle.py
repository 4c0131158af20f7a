"""Stored models become ONNX bundles of features through the exporter of all networks, and prove themselves."""
import json

import mxnet as mx
import numpy as np
import onnx
import pytest
from feature_models import features, store

from gluon_action.cli import main as commands
from gluon_action.deploy.bundle.format import read_bundle, verify
from gluon_action.deploy.bundle.what_is_exported import open_source
from gluon_action.deploy.bundle.write import write_bundle
from gluon_action.deploy.onnx import export as onnx_export
from gluon_action.deploy.onnx.model import OnnxModel
from gluon_action.deploy.stored_models.ensemble import combine
from gluon_action.deploy.stored_models.quantize import quantize_stored
from gluon_action.errors import BundleError, ModelError, UsageError
from gluon_action.model_zoo.frame_features.stored.reading import read_stored

NETVLAD = {'netvlad_cluster_size': 8, 'netvlad_hidden_size': 16, 'gating': True, 'moe_prob_gating': True,
           'iterations': 5, 'scale': 0.1}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Stored models, and bundles of them by the same names."""
    folder = tmp_path_factory.mktemp('bundles')
    store(folder / 'frames')
    store(folder / 'netvlad', 'NetVLADModelLF', **NETVLAD)
    store(folder / 'videos', 'LogisticModel')
    quantize_stored(folder / 'netvlad', folder / 'quantized' / 'inference_model', min_elements=250)
    combine([folder / 'frames', folder / 'netvlad', folder / 'quantized'], folder / 'sum', [0.5, 0.2, 0.3])
    for name in ('frames', 'videos', 'quantized', 'sum'):
        source = open_source(folder / name)
        write_bundle(source.net, folder / 'bundles' / name, preprocess=source.preprocess, labels=source.labels,
                     card=source.card, notes=source.notes)
    return folder


@pytest.mark.parametrize('name', ['frames', 'videos', 'quantized', 'sum'])
def test_a_bundle_says_what_the_stored_model_says(world, name):
    verdict = verify(world / 'bundles' / name)
    assert verdict.ok and verdict.difference < 1e-5
    bundle = read_bundle(world / 'bundles' / name, features=True)
    data = features(frames=bundle.preprocess.frames)
    expected = read_stored(world / name).build()(mx.nd.array(data)).asnumpy()
    assert OnnxModel(bundle.model, output='probabilities').run(data) == pytest.approx(expected, abs=1e-5)


def test_a_bundle_knows_its_kind_and_its_features(world):
    bundle = read_bundle(world / 'bundles' / 'sum', features=True)
    assert bundle.preprocess.features == (('rgb', 16), ('audio', 8)) and bundle.preprocess.frames == 12
    assert bundle.manifest['input']['layout'] == 'NTD' and bundle.num_classes == 10
    assert bundle.manifest['input']['shape'] == ['batch', 'frames', 24]
    videos = read_bundle(world / 'bundles' / 'videos', features=True).preprocess
    assert not videos.of_frames and videos.shape(1) == (1, 1, 24)
    card = (world / 'bundles' / 'sum' / 'model_card.md').read_text()
    for told in ('NTD', 'rgb (16), then audio (8)', 'at most 12', '0.5 x FrameLevelLogisticModel', '`probabilities`'):
        assert told in card
    card_of_videos = (world / 'bundles' / 'videos' / 'model_card.md').read_text()
    assert 'apply(stored)))  # float32 (1, D), as records of videos hold them' in card_of_videos
    assert 'apply(stored)))  # uint8 (n, D), as records hold the frames of a video' in card
    assert 'softmax' not in card and 'clip' not in card and 'predict' not in card


def test_a_model_alone_describes_itself(world, tmp_path):
    path = tmp_path / 'alone.onnx'
    path.write_bytes((world / 'bundles' / 'frames' / 'model.onnx').read_bytes())
    assert read_bundle(path, features=True).preprocess == read_bundle(world / 'bundles' / 'frames',
                                                                       features=True).preprocess


def test_quantized_weights_stay_quantized_in_the_file(world):
    model = onnx.load(world / 'bundles' / 'quantized' / 'model.onnx')
    kinds = {entry.name: (entry.data_type, list(entry.dims)) for entry in model.graph.initializer}
    quants = [name for name, (kind, _) in kinds.items() if kind == onnx.TensorProto.UINT8]
    member, = read_stored(world / 'quantized').members
    stored = sorted(array.shape for array in member.arrays.values() if array.dtype == np.uint8)
    assert len(stored) > 2 and sorted(tuple(kinds[name][1]) for name in quants) == stored
    assert all(name.removesuffix('_quants') not in kinds for name in quants)
    assert all(kinds[name.replace('_quants', '_space')] == (onnx.TensorProto.FLOAT, [256]) for name in quants)


def test_what_is_changed_in_a_bundle_is_seen(world, tmp_path):
    bundle = world / 'bundles' / 'frames'
    for name in bundle.iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    record = json.loads((bundle / 'preprocess.json').read_text())
    (tmp_path / 'preprocess.json').write_text(json.dumps({**record, 'frames': 9}))
    with pytest.raises(BundleError, match='preprocess.json'):
        verify(tmp_path)


@pytest.mark.parametrize('argv', [('predict', '{bundle}', 'video.mp4'), ('quantize', '{bundle}', 'v', '--out', '{out}'),
                                  ('benchmark-model', '{bundle}'),
                                  ('test-video-action-classifier', '--onnx', '{bundle}', '--video_path', 'v')])
def test_what_looks_at_videos_says_that_this_takes_features(world, tmp_path, capsys, argv):
    words = [word.format(bundle=world / 'bundles' / 'sum', out=tmp_path / 'out') for word in argv]
    assert commands.main(words) == 2
    assert 'takes features (N, T, D)' in capsys.readouterr().err


def test_the_command_exports_by_train_dir_and_by_prefix_and_names_classes(world, tmp_path, capsys):
    (tmp_path / 'names.txt').write_text(''.join(f'tag {k}\n' for k in range(10)))
    assert commands.main(['export', str(world / 'frames' / 'inference_model'), '--out', str(tmp_path / 'a'),
                          '--labels', str(tmp_path / 'names.txt')]) == 0
    assert commands.main(['export', str(world / 'frames'), '--out', str(tmp_path / 'b')]) == 0
    assert read_bundle(tmp_path / 'a', features=True).labels[3] == 'tag 3'
    assert commands.main(['verify', str(tmp_path / 'b')]) == 0 and 'OK' in capsys.readouterr().out


def test_choices_about_videos_mean_nothing_for_features(world, tmp_path):
    for choices, told in (({'clip_length': 8}, '--clip-length'), ({'short_side': 0}, '--short-side'),
                          ({'multi_label': True, 'model': 'x'}, '--multi-label, --model')):
        with pytest.raises(UsageError, match=f'is a stored model of features.*leave out {told}$'):
            open_source(world / 'frames', **choices)
    source = open_source(world / 'frames')
    with pytest.raises(UsageError, match='--reference-clip'):
        write_bundle(source.net, tmp_path / 'x', preprocess=source.preprocess,
                     reference=np.zeros((1, 8, 8, 3), np.uint8))


def test_a_run_that_has_no_model_yet_says_how_it_gets_one(world, tmp_path):
    read_stored(world / 'frames').architecture.write(tmp_path)
    with pytest.raises(Exception, match='there is no stored model|has no inference_model yet'):
        open_source(tmp_path)


def test_what_is_too_large_for_a_file_is_told_before(world, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, 'LARGEST', 100)
    source = open_source(world / 'frames')
    with pytest.raises(ModelError, match='an ONNX file holds 100; quantize it first'):
        write_bundle(source.net, tmp_path / 'x', preprocess=source.preprocess)
    assert list(tmp_path.iterdir()) == []
