"""Published weights: which are taken, what is said, and files that do or do not fit."""
import hashlib

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from weights_server import WeightsServer, row_of, write_index

from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import find_start, get_model, load_weights
from gluon_action.model_zoo.pretrained import load_start

FAST = {'nclass': 3, 'input_size': 32, 'pretrained_base': False}


@pytest.fixture
def repository(monkeypatch):
    """Where GluonCV's files are; whoever else publishes weights does not answer."""
    server = WeightsServer()
    monkeypatch.setenv('MXNET_GLUON_REPO', server.address)
    monkeypatch.delenv('MXNET_HOME', raising=False)
    yield server
    server.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('options, way_out', [
    ({'pretrained_base': True}, r'resnet18_v1b-2d9d980c.*no connection.*pass pretrained_base=False'),
    ({'pretrained': True}, r'resnet18_v1b_kinetics400-46d5a985.*no connection.*use pretrained=False'),
])
def test_offline_the_error_names_address_cause_and_way_out(options, way_out, monkeypatch, tmp_path):
    closed = WeightsServer()
    port = closed.server_address[1]
    closed.close()
    monkeypatch.setenv('MXNET_GLUON_REPO', f'http://127.0.0.1:{port}/')
    with pytest.raises(WeightsError, match=f'http://127.0.0.1:{port}/gluon/models/.*zip.*') as caught:
        get_model('resnet18_v1b_kinetics400', root=str(tmp_path), **options)
    assert caught.match(way_out)


def test_custom_models_start_from_kinetics_or_say_how_not_to(monkeypatch, tmp_path):
    monkeypatch.setenv('MXNET_GLUON_REPO', 'http://127.0.0.1:9/')
    with pytest.raises(WeightsError, match='_kinetics400-.*use_kinetics_pretrain=False.*pretrained_base=False'):
        get_model('resnet18_v1b_custom', nclass=3, root=str(tmp_path))
    with pytest.raises(WeightsError, match='ImageNet weights resnet18_v1b:'):
        get_model('resnet18_v1b_custom', nclass=3, root=str(tmp_path), use_kinetics_pretrain=False)
    with pytest.raises(WeightsError, match='no weights of resnet18_v1b_custom.*ImageNet.*load_weights'):
        get_model('resnet18_v1b_custom', pretrained=True, root=str(tmp_path))


def test_what_cannot_be_downloaded_is_said_to_start_from_a_file(tmp_path):
    with pytest.raises(WeightsError, match=r'start from a file.*--resume-params.*import-weights'):
        get_model('s3dg_kinetics400', pretrained=True, clip_length=8, input_size=32, root=str(tmp_path))


def test_checkpoints_of_others_are_said_to_be_imported(trained, tmp_path):
    (tmp_path / 'model.ckpt.index').touch()
    (tmp_path / 's3d.pth').write_bytes(b'PK\x03\x04' * 8)
    for name in ('model.ckpt', 's3d.pth'):
        with pytest.raises(WeightsError, match=f'{name}: .*gluon-action import-weights'):
            load_weights(trained[0], tmp_path / name)


def test_weights_of_the_other_stream_are_refused_as_such(tmp_path):
    rgb, flow = (get_model(f'i3d_{stream}_custom', clip_length=8, **FAST) for stream in ('rgb', 'flow'))
    for net, other, told in ((rgb, flow, r'on RGB \(3 channels\), this network takes optical flow .*i3d_rgb_'),
                             (flow, rgb, r'on optical flow \(2 channels\), this network takes RGB .*i3d_flow_')):
        net.save_parameters(str(tmp_path / 'net.params'))
        with pytest.raises(WeightsError, match=told):
            load_weights(other, tmp_path / 'net.params')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A ResNet-18 with 400 classes, its file, and the SHA-1 of it."""
    net = get_model('resnet18_v1b_kinetics400', pretrained_base=False, input_size=32)
    path = tmp_path_factory.mktemp('trained') / 'net.params'
    net.save_parameters(str(path))
    return net, path, hashlib.sha1(path.read_bytes()).hexdigest()


def values(net, key):
    return net._collect_params_with_prefix()[key].data().asnumpy()


def test_published_weights_are_loaded_by_tag_with_the_names_of_their_classes(repository, trained, tmp_path):
    net, path, sha1 = trained
    repository.publish('resnet18_v1b_kinetics400', sha1[:8], path.read_bytes())
    got = get_model('resnet18_v1b_kinetics400', pretrained=sha1[:8], root=str(tmp_path), num_segments=2)
    assert (values(got, 'output.weight') == values(net, 'output.weight')).all()
    assert got.classes == got.card.labels()
    with pytest.raises(WeightsError, match='trained on 400 classes, this network has 3.*replace_head=True'):
        get_model('resnet18_v1b_kinetics400', nclass=3, pretrained=sha1[:8], root=str(tmp_path))
    other = get_model('resnet18_v1b_kinetics400', nclass=3, pretrained=sha1, root=str(tmp_path), replace_head=True)
    assert (values(other, 'layer4.1.conv2.weight') == values(net, 'layer4.1.conv2.weight')).all()
    assert values(other, 'output.weight').shape == (3, 512) and other.classes is None
    assert len(repository.requests) == 1


def test_custom_models_take_the_body_of_the_kinetics_model(repository, trained, tmp_path, monkeypatch):
    net, path, sha1 = trained
    repository.publish('resnet18_v1b_kinetics400', sha1[:8], path.read_bytes())
    name = f'resnet18_v1b_kinetics400-{sha1[:8]}'
    own = row_of('resnet18_v1b_kinetics400', sha1[:8], b'', f'mxnet://{name}.zip', name=f'{name}.params',
                 digest=f'sha1:{sha1}')
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', [own])))
    got = get_model('resnet18_v1b_custom', nclass=3, root=str(tmp_path))
    assert (values(got, 'bn1.gamma') == values(net, 'bn1.gamma')).all()
    assert (values(got, 'conv1.weight') == values(net, 'conv1.weight')).all()
    assert values(got, 'output.bias').shape == (3,)


def test_an_imagenet_base_fills_the_body_and_not_the_head(repository, trained, tmp_path):
    net, _, _ = trained
    body = {key: parameter.data() for key, parameter in net._collect_params_with_prefix().items()
            if not key.startswith('output.')}
    base = tmp_path / 'base'
    mx.nd.save(str(base), {**body, 'fc.weight': mx.nd.ones((1000, 512)), 'fc.bias': mx.nd.ones(1000)})
    tag = hashlib.sha1(base.read_bytes()).hexdigest()[:8]
    repository.publish('resnet18_v1b', tag, base.read_bytes())
    got = get_model('resnet18_v1b_ucf101', pretrained_base=tag, root=str(tmp_path), tsn=True)
    assert (values(got, 'layer1.0.conv1.weight') == values(net, 'layer1.0.conv1.weight')).all()
    assert 0 < np.abs(values(got, 'output.weight')).max() < 0.01

    mx.nd.save(str(base), {'conv1.weight': body['conv1.weight'], 'fc.bias': mx.nd.ones(1000)})
    torn = hashlib.sha1(base.read_bytes()).hexdigest()[:8]
    repository.publish('resnet18_v1b', torn, base.read_bytes())
    with pytest.raises(WeightsError, match='99 are missing in the file.*pretrained_base=False'):
        get_model('resnet18_v1b_ucf101', pretrained_base=torn, root=str(tmp_path))


@pytest.mark.parametrize('form', [str.upper, str.lower])
@pytest.mark.parametrize('digits', [8, 12, 40])
def test_a_tag_may_be_in_capitals(repository, trained, tmp_path, form, digits):
    net, path, sha1 = trained
    repository.publish('resnet18_v1b_kinetics400', sha1[:8], path.read_bytes())
    got = get_model('resnet18_v1b_kinetics400', pretrained=form(sha1[:digits]), root=str(tmp_path))
    assert (values(got, 'output.weight') == values(net, 'output.weight')).all()
    assert f'resnet18_v1b_kinetics400-{sha1[:8]}.params' in names(tmp_path)


@pytest.mark.parametrize('form', [str.upper, str.lower])
def test_all_digits_that_are_published_of_a_tag_are_checked(repository, trained, tmp_path, monkeypatch, form):
    _, path, sha1 = trained
    repository.publish('resnet18_v1b_kinetics400', sha1[:8], path.read_bytes())
    other = sha1[:8] + 'abcdef00' * 4
    name = f'resnet18_v1b_kinetics400-{sha1[:8]}'
    own = row_of('resnet18_v1b_kinetics400', sha1[:8], b'', f'mxnet://{name}.zip', name=f'{name}.params',
                 digest=f'sha1:{other}')
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', [own])))
    with pytest.raises(WeightsError, match=f'its SHA-1 is {sha1} instead of {other}'):
        get_model('resnet18_v1b_kinetics400', pretrained=form(sha1[:8]), root=str(tmp_path))


def test_a_base_that_nobody_published_is_an_error():
    with pytest.raises(WeightsError, match='no ImageNet weights .* for resnet18_v1b_gn.*pretrained_base=False'):
        get_model('resnet18_v1b_ucf101', use_gn=True)


def test_a_tag_that_is_none_is_an_error():
    with pytest.raises(WeightsError, match="vgg16_ucf101 has no weights 'latest'; published: d6dc1bba, 05e319d4"):
        get_model('vgg16_ucf101', pretrained='latest', input_size=32)


def test_weights_move_to_the_devices_that_are_asked_for(trained):
    net = get_model('resnet18_v1b_kinetics400', pretrained_base=False, input_size=32)
    load_weights(net, trained[1], ctx=[mx.cpu(0), mx.cpu(1)])
    assert net.output.weight.list_ctx() == [mx.cpu(0), mx.cpu(1)]


def test_files_of_gluoncvs_older_tsn_classes_load(trained, tmp_path):
    arrays = mx.nd.load(str(trained[1]))
    mx.nd.save(str(tmp_path / 'old.params'), {f'basenet.{key}': array for key, array in arrays.items()})
    for options in ({}, {'num_segments': 2}):
        net = get_model('resnet18_v1b_kinetics400', pretrained_base=False, input_size=32, **options)
        net.load_parameters(str(tmp_path / 'old.params'))
        assert (values(net, 'output.weight') == arrays['output.weight'].asnumpy()).all()


def test_a_new_head_is_left_alone_while_the_body_is_loaded(trained):
    net = get_model('resnet18_v1b_kinetics400', **FAST)
    head = values(net, 'output.weight')
    load_weights(net, trained[1], ignore_head=True)
    assert (values(net, 'output.weight') == head).all()
    assert (values(net, 'conv1.weight') == values(trained[0], 'conv1.weight')).all()


def test_a_file_that_does_not_fit_changes_nothing(trained):
    net = get_model('resnet18_v1b_kinetics400', **FAST)
    before = values(net, 'conv1.weight')
    with pytest.raises(WeightsError, match='on 400 classes, this network has 3; .*nclass=400.*ignore_head=True'):
        load_weights(net, trained[1])
    assert (values(net, 'conv1.weight') == before).all()


@pytest.mark.parametrize('name, message', [
    ('inceptionv1_ucf101', 'is not of a inceptionv1_ucf101 .* missing in the file .*conv.* not in the network'),
    ('resnet50_v1b_custom', 'resnet50_v1b_custom with 267 parameters: .* missing in the file .layer1.0.conv3.weight'),
])
def test_a_file_of_another_network_is_named(trained, name, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(get_model(name, **{**FAST, 'nclass': 400}), trained[1])


def test_another_input_size_of_vgg_is_named(tmp_path):
    small = get_model('vgg16_ucf101', **FAST)
    small.save_parameters(str(tmp_path / 'small.params'))
    larger = get_model('vgg16_ucf101', **{**FAST, 'input_size': 64})
    with pytest.raises(WeightsError, match=r'features.31.weight is \(4096, 512\) in the file .* input_size'):
        load_weights(larger, tmp_path / 'small.params')
    with pytest.raises((mx.MXNetError, ModelError)):
        small(mx.nd.ones((1, 3, 64, 64))).wait_to_read()


@pytest.mark.parametrize('make, message', [
    (lambda path, good: None, 'no such file'),
    (lambda path, good: path.write_bytes(b''), 'not a file of parameters'),
    (lambda path, good: path.write_bytes(b'garbage' * 100), 'not a file of parameters'),
    (lambda path, good: path.write_bytes(good[:len(good) // 2]), 'not a file of parameters'),
    (lambda path, good: path.write_bytes(good[:40]), 'not a file of parameters'),
    (lambda path, good: mx.nd.save(str(path), [mx.nd.ones(3)]), 'no keys of layers'),
    (lambda path, good: mx.nd.save(str(path), {'arg:resnet_conv0_weight': mx.nd.ones(3)}), 'from save_parameters'),
])
def test_what_is_no_parameter_file_is_refused(trained, tmp_path, make, message):
    make(tmp_path / 'x.params', trained[1].read_bytes())
    with pytest.raises(WeightsError, match=f'x.params: .*{message}'):
        load_weights(trained[0], tmp_path / 'x.params')


def test_a_start_is_loaded_into_a_network_that_holds_values_already(repository, trained, tmp_path):
    net, path, sha1 = trained
    repository.publish('resnet18_v1b', sha1[:8], path.read_bytes())
    other = get_model('resnet18_v1b_ucf101', **FAST)
    load_start(other, find_start(other.card, pretrained_base=sha1[:8], root=tmp_path))
    assert (values(other, 'conv1.weight') == values(net, 'conv1.weight')).all()
