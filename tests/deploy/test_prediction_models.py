"""What computes predictions: ONNX files, bundles, runs, models of the zoo, and those of another project."""
import os
import sys

import numpy as np
import pytest
from bundles import LABELS, WEIGHTS, make_bundle
from epic_models import WEIGHTS as EPIC_WEIGHTS
from epic_models import write_epic_model
from videos import write_frames, write_video

from gluon_action.deploy.onnx.model import OnnxModel
from gluon_action.deploy.predict.epic_model import is_epic_model, open_epic_model
from gluon_action.deploy.predict.open_predictor import open_predictor
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.errors import BundleError, UsageError


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp('bundles') / 'means')


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_threads_and_devices_are_taken(bundle):
    model = OnnxModel(bundle / 'model.onnx', threads=1, providers=['CPUExecutionProvider'])
    assert (model.threads, model.providers, model.input_name) == (1, ['CPUExecutionProvider'], 'clip')
    assert model.input_shape == ['batch', 3, 2, 8, 8] and model.num_classes == 3
    data = np.random.default_rng(0).random((2, 3, 2, 8, 8), np.float32)
    np.testing.assert_allclose(model.run(data), data.mean(axis=(2, 3, 4)) @ WEIGHTS.T, rtol=1e-4)


@pytest.mark.parametrize('options, told', [({}, '0'), ({'spinning': True}, '1')])
def test_idle_threads_leave_the_cores_to_the_decoder_unless_they_are_to_spin(bundle, options, told):
    session = OnnxModel(bundle / 'model.onnx', threads=2, **options)._session
    assert session.get_session_options().get_session_config_entry('session.intra_op.allow_spinning') == told


@pytest.mark.parametrize('make, told', [
    (lambda bundle: OnnxModel(bundle / 'labels.json'), 'is no ONNX file, or a damaged one'),
    (lambda bundle: OnnxModel(bundle / 'nothing.onnx'), 'cannot be read: No such file'),
    (lambda bundle: OnnxModel(bundle / 'model.onnx', output='features'), "an output 'features'"),
    (lambda bundle: OnnxModel(bundle / 'model.onnx').run(np.zeros((1, 3, 5, 8, 8), 'float32')),
     'cannot compute an input of 1 x 3 x 5 x 8 x 8 float32')])
def test_models_that_cannot_be_used_are_refused(bundle, make, told):
    with pytest.raises(BundleError, match=told):
        make(bundle)


@pytest.mark.parametrize('options, told', [
    ({'stride': 0}, 'stride must be 1'), ({'batch_size': 0}, 'batch_size must be 1'), ({'rolling': 0}, 'rolling'),
    ({'vote': 'best'}, 'mean, majority'), ({'threads': 0}, 'threads must be 1')])
def test_arguments_that_cannot_be_are_refused(bundle, options, told):
    with pytest.raises(UsageError, match=told):
        Predictor(bundle, **options)


@pytest.mark.parametrize('source, options, told', [
    ('{bundle}', {'model': 'x'}, '--model: .* leave it out'),
    ('{bundle}/model.onnx', {'use_pretrained': True}, '--use-pretrained: .* leave it out'),
    ('/nowhere/x', {}, 'does not exist; name a bundle'), ('nowhere.params', {'model': 'x'}, 'does not exist'),
    ('i3d_resnet50_v1_kinetics400', {}, 'pass --use-pretrained'),
    ('{videos}', {}, 'holds neither a bundle .* nor a training run'),
    ('{weights}', {'model': 'x', 'threads': 2}, 'OMP_NUM_THREADS')])
def test_what_predicts_nothing_is_refused(bundle, tmp_path, source, options, told):
    (tmp_path / 'x.params').write_bytes(b'')
    source = source.format(bundle=bundle, videos=tmp_path, weights=tmp_path / 'x.params')
    with pytest.raises(UsageError, match=told):
        open_predictor(source, **options)


def test_without_mxnet_only_exported_models_predict(bundle, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'mxnet', None)
    assert open_predictor(bundle).labels == LABELS
    with pytest.raises(UsageError, match='need MXNet.*export it where MXNet is'):
        open_predictor('i3d_resnet50_v1_kinetics400', use_pretrained=True)


# ---------------------------------------------------------------- the original project's models

def test_a_model_of_epic_kitchens_sees_what_its_script_showed_it(tmp_path):
    path = write_epic_model(tmp_path / 'epic.onnx')
    folder = write_frames(tmp_path / 'frames', range(1, 13), pattern='frame_%010d.jpg', size=(40, 32))
    import cv2
    last, expected = [], []
    for name in sorted(os.listdir(folder)):  # as its test script does
        frame = cv2.resize(cv2.imread(str(folder / name)), (16, 16))
        last = [*last, (frame.astype('float32') / 255 - 0.45) / 0.225][-8:]
        images = np.stack([last[int(place)] for place in np.linspace(0, len(last) - 1, 8)])
        expected.append(softmax(images.mean(axis=(0, 1, 2)) @ EPIC_WEIGHTS.T))
    model = open_epic_model(path, ['open bag', 'take bag'])
    found = Predictor(model, model=model, lead_in=True)(folder)
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, rtol=1e-3)
    np.testing.assert_allclose(found.probabilities, np.mean(expected, axis=0), rtol=1e-3)
    assert found.protocol['model'] == 'epic' and found.protocol['lead_in']


def test_only_such_models_are_taken_for_them(bundle, tmp_path):
    path = write_epic_model(tmp_path / 'epic.onnx')
    assert is_epic_model(path) and not is_epic_model(bundle / 'model.onnx')
    with pytest.raises(BundleError, match='names 3 classes, and the model gives 2'):
        open_epic_model(path, LABELS)


def test_a_network_in_mxnet_predicts_what_its_bundle_does(tmp_path):
    from gluon_action.deploy.bundle.what_is_exported import open_source
    from gluon_action.deploy.bundle.write import write_bundle
    from gluon_action.deploy.predict.open_predictor import NetworkModel
    opened = open_source('timesformer_small_custom', no_weights=True, num_classes=3, input_size=16, clip_length=2)
    video = write_video(tmp_path / 'a.mp4', 12)
    write_bundle(opened.net, tmp_path / 'b', preprocess=opened.preprocess)
    theirs = Predictor(tmp_path / 'b', stride=4)(video)
    ours = Predictor(opened, model=NetworkModel(opened.net), stride=4)
    np.testing.assert_allclose([window.probabilities for window in ours(video).windows],
                               [window.probabilities for window in theirs.windows], rtol=1e-4)
    assert ours.about()['model'] == 'timesformer_small_custom'
