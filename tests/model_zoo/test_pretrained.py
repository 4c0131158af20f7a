"""Published weights: which are taken, what is said, and files that do or do not fit."""
import hashlib
import json
import re

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from inception import few_blocks
from structure import structure_of
from thin_resnets import thin_resnets
from torch_file_writer import write_torch_file
from weights_server import WeightsServer, row_of, write_index

from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import find_start, get_model, load_weights, model_card
from gluon_action.model_zoo.loading.pretrained import load_start
from gluon_action.weights import read_index

FAST = {'nclass': 3, 'input_size': 32, 'pretrained_base': False}


@pytest.fixture(scope='module', autouse=True)
def thin():
    """A file of parameters has 6 MB instead of 46; it is written, packed, sent, hashed and read again and again."""
    with thin_resnets():
        yield


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
    assert caught.value.__suppress_context__ and caught.value.__cause__ is None  # the text says it all


def test_custom_models_start_from_kinetics_or_say_how_not_to(monkeypatch, tmp_path):
    monkeypatch.setenv('MXNET_GLUON_REPO', 'http://127.0.0.1:9/')
    with pytest.raises(WeightsError, match='_kinetics400-.*--no-pretrained-base.*--resume-params FILE --new-head.*'
                                           'use_kinetics_pretrain=False'):
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
    with few_blocks():
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
        load_weights(structure_of(name, **{**FAST, 'nclass': 400}), trained[1])


def test_another_input_size_of_vgg_is_named(tmp_path):
    small = get_model('vgg16_ucf101', **FAST)
    small.save_parameters(str(tmp_path / 'small.params'))
    larger = structure_of('vgg16_ucf101', **{**FAST, 'input_size': 64})
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


def test_the_tag_of_a_base_is_heeded_by_models_that_start_from_others(repository, trained, tmp_path):
    _, path, sha1 = trained
    card, tag = model_card('resnet18_v1b_custom'), sha1[:8]
    for name in ('resnet18_v1b', card.starts_from):
        repository.publish(name, tag, path.read_bytes())
    for kinetics, model in ((None, 'resnet18_v1b'), (False, 'resnet18_v1b'), (True, card.starts_from)):
        row = find_start(card, pretrained_base=tag, kinetics=kinetics, root=tmp_path).row
        assert (row.model, row.tag) == (model, tag)


# What is taken, and what is said of it

NAME = 'resnet18_v1b_kinetics400'


@pytest.fixture
def sources(repository, trained, tmp_path, monkeypatch):
    """An index of three rows of one network, all of them on a server of our own; the bucket does not answer."""
    content = trained[1].read_bytes()
    rows = [row_of(NAME, tag, content, f'{repository.address}/{tag}.params', top1=top1, protocol='25x10',
                   average='features', licence=licence, input={'mean': [.5, .4, .3], 'std': [.1, .2, .3]})
            for tag, top1, licence in (('first', 74.12, 'Apache-2.0'), ('second', 70., 'CC-BY-NC-4.0'),
                                       ('third', 69., 'MIT'))]
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', rows)))
    monkeypatch.setenv('MXNET_GLUON_REPO', 'http://127.0.0.1:9/')
    repository.content, repository.rows = content, rows
    return repository


def test_the_first_row_that_can_be_had_is_taken_and_said(sources, trained, tmp_path, caplog):
    sources.files['/first.params'], sources.types['/first.params'] = b'<html>', 'text/html'
    sources.files['/second.params'] = sources.content[:-1] + b'?'
    sources.files['/third.params'] = sources.content
    with caplog.at_level('INFO'):
        net = get_model(NAME, pretrained=True, root=tmp_path)
    assert (values(net, 'output.weight') == values(trained[0], 'output.weight')).all()
    assert f'{NAME} first is passed over: {sources.address}/first.params: a web page' in caplog.text
    assert f'{NAME} second is passed over: {sources.address}/second.params: its SHA-256 is' in caplog.text
    told = (f'Weights of {NAME}: third, by us, from {sources.address}/third.params; published top-1 69 % (25x10, '
            'features averaged); licence MIT')
    assert told in caplog.messages
    assert (net.start.row.tag, net.row['tag'], net.card.mean) == ('third', 'third', (.5, .4, .3))
    assert net.card.of == model_card(NAME) and net.classes == net.card.labels()


def test_weights_that_are_asked_for_come_before_a_start_of_the_body(sources, tmp_path):
    for tag in ('first', 'second'):
        sources.files[f'/{tag}.params'] = sources.content
    base = find_start(model_card(NAME), pretrained='first', root=tmp_path)
    assert get_model(NAME, pretrained='second', pretrained_base=base, root=tmp_path).start.row.tag == 'second'


@pytest.mark.parametrize('format', ['params', 'mmaction2-resnet2d'])
def test_a_head_whose_classes_are_all_named_is_put_in_order_or_keeps_their_names(trained, tmp_path, format):
    net, path, _ = trained
    if format != 'params':
        path = tmp_path / 'net.pth'
        write_torch_file(path, {'state_dict': {as_mmaction2_has_it(key): parameter.data().asnumpy() for key, parameter
                                               in net._collect_params_with_prefix().items()}})
    head, ours = values(net, 'output.weight'), net.card.labels()
    for theirs, rows, classes in (([name.upper() for name in ours[::-1]], head[::-1], ours),
                                  ([f'class {number}' for number in range(400)], head, None)):
        index = write_index(tmp_path / 'index.json', [row_of(
            NAME, 'theirs', path.read_bytes(), path.as_uri(), format=format,
            classes={str(number): name for number, name in enumerate(theirs)})])
        got = get_model(NAME, pretrained='theirs', root=tmp_path, index=str(index))
        assert (values(got, 'output.weight') == rows).all() and got.classes == (classes or theirs)


def test_a_licence_without_commercial_use_is_said_before_the_download(sources, tmp_path, caplog):
    sources.files['/second.params'] = sources.content
    with caplog.at_level('INFO'):
        get_model(NAME, pretrained='second', root=tmp_path)
    asked = [number for number, text in enumerate(caplog.messages) if text.startswith('downloading')]
    said = caplog.messages.index(f'{NAME} second: their licence, CC-BY-NC-4.0, does not allow commercial use')
    assert said < asked[0]


def test_when_none_can_be_had_all_are_named_with_what_to_put_where(sources, tmp_path):
    with pytest.raises(WeightsError) as caught:
        get_model(NAME, pretrained=True, root=tmp_path)
    for part in (f'none of 4 sets of weights of {NAME} can be had: first ({sources.address}/first.params: HTTP 404 ',
                 '46d5a985 (http://127.0.0.1:9/gluon/models/', 'no connection', sources.rows[0]['files'][0]['digest'],
                 f'put it into {tmp_path}', 'use pretrained=False to do without'):
        assert part in str(caught.value)


def test_a_row_without_a_digest_is_passed_over_unless_trusted(sources, tmp_path, monkeypatch, caplog):
    sources.rows[0]['files'][0]['digest'] = ''
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', sources.rows)))
    sources.files |= {f'/{tag}.params': sources.content for tag in ('first', 'second')}
    assert get_model(NAME, pretrained=True, root=tmp_path / 'a').start.row.tag == 'second'
    assert 'first is passed over: first.params: us gives no digest' in caplog.text
    assert get_model(NAME, pretrained=True, root=tmp_path / 'b', trust_first_use=True).start.row.tag == 'first'


def test_offline_what_is_in_the_cache_is_taken(sources, tmp_path, monkeypatch):
    sources.files['/third.params'] = sources.content
    get_model(NAME, pretrained='third', root=tmp_path)
    monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
    sources.paths.clear()
    assert get_model(NAME, pretrained=True, root=tmp_path).start.row.tag == 'third'
    assert not sources.paths


def test_what_was_found_before_is_loaded_without_asking_again(sources, trained, tmp_path):
    sources.files['/first.params'] = sources.content
    start = find_start(model_card(NAME), pretrained=True, root=tmp_path)
    sources.files.clear()
    net = get_model(NAME, pretrained=start)
    assert (values(net, 'output.weight') == values(trained[0], 'output.weight')).all() and net.start is start
    with pytest.raises(ModelError, match=f'resnet18_v1b_ucf101: cannot start from what was found for {NAME}'):
        get_model('resnet18_v1b_ucf101', pretrained=start)


def test_weights_without_a_head_are_taken_by_tag_for_a_new_one(sources, trained, tmp_path, monkeypatch):
    arrays = {key: array for key, array in mx.nd.load(str(trained[1])).items() if not key.startswith('output.')}
    mx.nd.save(str(tmp_path / 'body.params'), arrays)
    body = row_of(NAME, 'body', (tmp_path / 'body.params').read_bytes(), 'body.params', head=False)
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', [body])))
    for options in ({}, {'replace_head': True}):
        with pytest.raises(WeightsError) as caught:
            get_model(NAME, pretrained=True, root=tmp_path / 'models', **options)
        assert 'body' not in str(caught.value)
    with pytest.raises(WeightsError, match='body: these weights have no head; start a new one: replace_head=True'):
        get_model(NAME, pretrained='body', root=tmp_path / 'models')
    net = get_model(NAME, nclass=3, pretrained='body', replace_head=True, root=tmp_path / 'models')
    assert (net.start.row.tag, net.classes, values(net, 'output.weight').shape) == ('body', None, (3, 512))


def test_weights_of_other_classes_bring_their_number_and_names(sources, tmp_path, monkeypatch):
    net = get_model('resnet18_v1b_custom', **FAST)
    net.save_parameters(str(tmp_path / 'own.params'))
    own = row_of('resnet18_v1b_custom', 'own', (tmp_path / 'own.params').read_bytes(), 'own.params',
                 classes={'0': 'wave', '1': 'clap', '2': 'jump'})
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', [own])))
    got = get_model('resnet18_v1b_custom', pretrained='own', root=tmp_path / 'models')
    assert (got.num_classes, got.classes) == (3, ['wave', 'clap', 'jump'])
    assert (values(got, 'output.weight') == values(net, 'output.weight')).all()


def test_what_weights_need_of_the_network_is_built(sources, tmp_path, monkeypatch):
    net = get_model('resnet18_v1b_custom', **FAST, use_gn=True)
    net.save_parameters(str(tmp_path / 'own.params'))
    own = row_of('resnet18_v1b_custom', 'own', (tmp_path / 'own.params').read_bytes(), 'own.params',
                 options={'use_gn': True})
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', [own])))
    assert not get_model('resnet18_v1b_custom', nclass=3, pretrained='own', root=tmp_path / 'models').batch_norms()


def test_a_base_hands_over_how_it_normalises_colours_and_nothing_else(sources, trained, tmp_path, monkeypatch):
    row = row_of('resnet18_v1b', 'half', trained[1].read_bytes(), 'base.params', kind='base',
                 input={'mean': [.5] * 3, 'std': [.5] * 3, 'input_size': 384})
    (tmp_path / 'base.params').write_bytes(trained[1].read_bytes())
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', [row])))
    net = get_model('resnet18_v1b_ucf101', root=tmp_path / 'models')
    assert net.card.preparation == {'mean': (.5,) * 3, 'std': (.5,) * 3} and net.start.body_only


# The package's own rows, on a server of our own that has their paths

def as_mmaction2_has_it(key):
    """The name in a file of mmaction2's TSN of a key of ResNet v1b."""
    key = re.sub(r'(downsample)\.0', r'\1.conv', re.sub(r'(downsample)\.1', r'\1.bn', key))
    key = re.sub(r'\b(conv|bn)(\d)\.', r'conv\2.\1.', key)
    key = key.replace('gamma', 'weight').replace('beta', 'bias')
    return f'cls_head.fc_cls.{key.removeprefix("output.")}' if key.startswith('output.') else f'backbone.{key}'


@pytest.mark.slow  # the network has its 24 million numbers
def test_resnet50_falls_through_from_a_dead_bucket_to_a_living_row(repository, tmp_path, monkeypatch, caplog):
    name = 'resnet50_v1b_kinetics400'
    net = get_model(name, pretrained_base=False)
    arrays = {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}
    write_torch_file(tmp_path / 'tsn.pth', {
        'meta': {'epoch': 100}, 'state_dict': {as_mmaction2_has_it(key): array for key, array in arrays.items()}})
    content = (tmp_path / 'tsn.pth').read_bytes()
    rows = [row.as_json() for row in read_index().rows_of(name)]
    assert [row['tag'] for row in rows[:2]] == ['mmaction2-8seg', 'mmaction2-5seg']
    for row in rows:
        for file in row['files']:
            file['urls'] = [url.replace('https:/', repository.address) for url in file['urls']]
    digits = hashlib.sha256(content).hexdigest()
    rows[1]['files'][0]['digest'] = f'sha256:{digits[:8]}'
    path = rows[1]['files'][0]['urls'][0].removeprefix(repository.address)
    assert path.startswith('/download.openmmlab.com/mmaction/v1.0/recognition/tsn/') and path.endswith('-65d68713.pth')
    repository.files[path] = content
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(tmp_path / 'index.json', rows)))
    monkeypatch.setenv('MXNET_GLUON_REPO', 'http://127.0.0.1:9/')

    with caplog.at_level('INFO'):
        got = get_model(name, pretrained=True, root=tmp_path / 'models')
    assert (got.start.row.tag, got.classes[0], got.num_classes) == ('mmaction2-5seg', 'abseiling', 400)
    for key, array in arrays.items():
        assert (values(got, key) == array).all(), key
    assert f'{name} mmaction2-8seg is passed over' in caplog.text and '_20220906-2692d16c.pth: HTTP 404' in caplog.text
    said = f'Weights of {name}: mmaction2-5seg, by mmaction2, from {repository.address}{path}; published top-1 73.8 %, '
    assert f'{said}top-5 91.21 % (25x10, features averaged); licence Apache-2.0' in caplog.messages
    repository.files.clear()
    assert get_model(name, pretrained=digits[:10], root=tmp_path / 'models').start.row.tag == 'mmaction2-5seg'
    assert json.loads((tmp_path / 'models' / 'verified.json').read_text())[path.rsplit('/', 1)[1]]['sha256'] == digits
