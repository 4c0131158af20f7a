"""Weights: downloads over a real connection that breaks in every way, and files that do or do not fit."""
import dataclasses
import fcntl
import hashlib
import http.server
import io
import threading
import zipfile

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest

from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import get_model, load_weights, model_card, registry
from gluon_action.model_zoo.download import fetch_weights, weights_root
from gluon_action.model_zoo.weights import load_base

CONTENT = np.random.RandomState(0).bytes(300_000)
SHA1 = hashlib.sha1(CONTENT).hexdigest()
TAG = SHA1[:8]
FAST = {'nclass': 3, 'input_size': 32, 'pretrained_base': False}


def archive(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return data.getvalue()


class Repository(http.server.ThreadingHTTPServer):
    """Serves archives, and misbehaves as told: `cuts` holds how many bytes the next answers send before they end."""

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.archives, self.cuts, self.failures, self.ranges, self.requests = {}, [], [], True, []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, name, tag, content, member=None):
        self.archives[f'/gluon/models/{name}-{tag}.zip'] = archive(**{member or f'{name}-{tag}.params': content})


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET, with ranges."""

    def do_GET(self):
        server, start = self.server, 0
        server.requests.append(self.headers.get('Range'))
        body = server.archives.get(self.path)
        if server.failures or body is None:
            return self.send_error(server.failures.pop(0) if server.failures else 404)
        if self.headers.get('Range') and server.ranges:
            start = int(self.headers['Range'].removeprefix('bytes=').rstrip('-'))
            if start >= len(body):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][:server.cuts.pop(0) if server.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def repository(monkeypatch):
    server = Repository()
    server.publish('net', TAG, CONTENT)
    monkeypatch.setenv('MXNET_GLUON_REPO', f'http://127.0.0.1:{server.server_address[1]}')
    monkeypatch.delenv('MXNET_HOME', raising=False)
    yield server
    server.shutdown()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once_and_nothing_else_is_left(repository, tmp_path):
    path = fetch_weights('net', TAG, SHA1, tmp_path)
    assert path.read_bytes() == CONTENT
    assert fetch_weights('net', TAG, SHA1, tmp_path) == path
    assert repository.requests == [None]
    assert names(tmp_path) == [f'net-{TAG}.lock', f'net-{TAG}.params']


def test_a_download_that_breaks_goes_on_where_it_stopped(repository, tmp_path):
    repository.cuts = [100_000, 50_000]
    assert fetch_weights('net', TAG, SHA1, tmp_path).read_bytes() == CONTENT
    assert repository.requests == [None, 'bytes=100000-', 'bytes=150000-']


def test_the_next_call_goes_on_where_the_last_one_gave_up(repository, tmp_path):
    repository.cuts = [100_000, 1000, 1000, 1000]
    with pytest.raises(WeightsError, match='ended after 103000 of 300.* bytes, after 4 attempts'):
        fetch_weights('net', TAG, SHA1, tmp_path)
    assert fetch_weights('net', TAG, SHA1, tmp_path).read_bytes() == CONTENT
    assert repository.requests[-1] == 'bytes=103000-'


def test_a_server_without_ranges_sends_everything_again(repository, tmp_path):
    repository.cuts, repository.ranges = [100_000], False
    assert fetch_weights('net', TAG, SHA1, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize('rest', [b'left by another version', b'x' * 400_000])
def test_a_part_that_does_not_belong_is_thrown_away(repository, tmp_path, rest):
    (tmp_path / f'net-{TAG}.zip.part').write_bytes(rest)
    assert fetch_weights('net', TAG, SHA1, tmp_path).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(repository, tmp_path):
    repository.failures = [503, 500]
    assert fetch_weights('net', TAG, SHA1, tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_asked_for_once(repository, tmp_path):
    with pytest.raises(WeightsError, match='x-12345678.params cannot be downloaded from http.*678.zip: HTTP 404'):
        fetch_weights('x', '12345678', '12345678', tmp_path)
    assert len(repository.requests) == 1


def test_content_of_another_hash_is_refused_with_both_hashes(repository, tmp_path):
    wrong = '0' * 40
    repository.publish('net', wrong[:8], CONTENT)
    with pytest.raises(WeightsError, match=f'its SHA-1 is {SHA1} instead of {wrong}'):
        fetch_weights('net', wrong[:8], wrong, tmp_path)
    assert names(tmp_path) == ['net-00000000.lock']


def test_all_forty_digits_are_checked(repository, tmp_path):
    almost = SHA1[:-1] + ('0' if SHA1[-1] != '0' else '1')
    with pytest.raises(WeightsError, match='its SHA-1 is'):
        fetch_weights('net', TAG, almost, tmp_path)


@pytest.mark.parametrize('member', ['evil.params', '../net-{tag}.params', 'folder/net-{tag}.params'])
def test_an_archive_with_other_members_is_refused_and_writes_nothing(repository, tmp_path, member):
    repository.publish('net', TAG, CONTENT, member=member.format(tag=TAG))
    with pytest.raises(WeightsError, match='the archive holds .* instead of net-'):
        fetch_weights('net', TAG, SHA1, tmp_path / 'models')
    assert names(tmp_path) == ['models'] and names(tmp_path / 'models') == [f'net-{TAG}.lock']


def test_something_that_is_no_archive_is_refused(repository, tmp_path):
    repository.archives[f'/gluon/models/net-{TAG}.zip'] = b'<html>log in first</html>'
    with pytest.raises(WeightsError, match='not a whole zip archive'):
        fetch_weights('net', TAG, SHA1, tmp_path)
    assert names(tmp_path) == [f'net-{TAG}.lock']


def test_a_damaged_file_is_replaced_with_a_warning(repository, tmp_path, caplog):
    (tmp_path / f'net-{TAG}.params').write_bytes(CONTENT[:-1])
    assert fetch_weights('net', TAG, SHA1, tmp_path).read_bytes() == CONTENT
    assert 'downloading it again' in caplog.text


def test_a_damaged_file_stays_when_its_replacement_cannot_be_had(repository, tmp_path):
    repository.failures = [404]
    (tmp_path / f'net-{TAG}.params').write_bytes(b'mine')
    with pytest.raises(WeightsError):
        fetch_weights('net', TAG, SHA1, tmp_path)
    assert (tmp_path / f'net-{TAG}.params').read_bytes() == b'mine'


def test_callers_at_the_same_time_download_once(repository, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch_weights('net', TAG, SHA1, tmp_path)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(repository.requests) == 1


def test_a_lock_that_is_never_released_is_named(repository, tmp_path, monkeypatch):
    monkeypatch.setenv('GLUON_MODEL_LOCK_TIMEOUT', '0.3')
    with open(tmp_path / f'net-{TAG}.lock', 'a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WeightsError, match=r'another process has held .*\.lock'):
            fetch_weights('net', TAG, SHA1, tmp_path)


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(repository, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(WeightsError, match='name another folder with root= or MXNET_HOME'):
        fetch_weights('net', TAG, SHA1, tmp_path / 'file' / 'models')


def test_an_explicit_root_beats_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('MXNET_HOME', '/elsewhere')
    assert str(weights_root()) == '/elsewhere/models'
    assert weights_root(tmp_path) == tmp_path
    monkeypatch.delenv('MXNET_HOME')
    assert weights_root().parts[-2:] == ('.mxnet', 'models')


@pytest.mark.parametrize('options, way_out', [
    ({'pretrained_base': True}, r'resnet18_v1b-2d9d980c.*no connection.*pass pretrained_base=False'),
    ({'pretrained': True}, r'resnet18_v1b_kinetics400-46d5a985.*no connection.*use pretrained=False'),
])
def test_offline_the_error_names_address_cause_and_way_out(options, way_out, monkeypatch, tmp_path):
    with http.server.HTTPServer(('127.0.0.1', 0), Handler) as closed:
        port = closed.server_address[1]
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
    card = dataclasses.replace(model_card('resnet18_v1b_kinetics400'), weights={sha1[:8]: sha1})
    monkeypatch.setitem(registry._CARDS, card.name, card)
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
    card = dataclasses.replace(model_card('resnet18_v1b_kinetics400'),
                               weights={'12345678': '12345678', sha1[:8]: other})
    monkeypatch.setitem(registry._CARDS, card.name, card)
    with pytest.raises(WeightsError, match=f'its SHA-1 is {sha1} instead of {other}'):
        get_model('resnet18_v1b_kinetics400', pretrained=form(sha1[:8]), root=str(tmp_path))


def test_a_base_that_nobody_published_is_an_error():
    with pytest.raises(WeightsError, match='no ImageNet weights .* for resnet18_v1b_gn.*pretrained_base=False'):
        get_model('resnet18_v1b_ucf101', use_gn=True)


def test_a_tag_that_is_none_is_an_error():
    with pytest.raises(WeightsError, match="got 'latest'; published: d6dc1bba, 05e319d4"):
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


def test_load_base_takes_a_network_that_holds_values_already(repository, trained, tmp_path):
    net, path, sha1 = trained
    repository.publish('resnet18_v1b', sha1[:8], path.read_bytes())
    other = get_model('resnet18_v1b_ucf101', **FAST)
    load_base(other, sha1[:8], root=str(tmp_path))
    assert (values(other, 'conv1.weight') == values(net, 'conv1.weight')).all()
