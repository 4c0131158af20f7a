"""``gluon-action models``: fast without MXNet, a mirror for machines without a network, weights of one's own."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from weights_server import WeightsServer, row_of, write_index

from gluon_action.cli import models
from gluon_action.cli.command import run
from gluon_action.errors import UsageError, WeightsError
from gluon_action.weights import read_index
from gluon_action.weights.fetch import fetch

CONTENT = b'content of weights ' * 1000


def call(*argv):
    return run(models.parse_args, models.main, [str(item) for item in argv], prog='gluon-action models')


@pytest.fixture(scope='module', autouse=True)
def thin():
    """The ResNets are smaller here than their name says."""
    from thin_resnets import thin_resnets
    with thin_resnets():
        yield


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = WeightsServer()
    for name in ('GLUON_ACTION_INDEX', 'GLUON_ACTION_REPO', 'GLUON_ACTION_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('MXNET_HOME', str(tmp_path / 'home'))
    yield server
    server.close()


@pytest.fixture
def index(server, tmp_path, monkeypatch):
    """Three sets of weights at three places, one of which is not there."""
    rows = [row_of('net_a', 'best', CONTENT, f'{server.address}/a.params', top1=70., protocol='25x10',
                   input={'mean': [.5], 'std': [.25], 'clip_length': 8}, note='to be known'),
            row_of('net_a', 'gone', CONTENT, 'http://127.0.0.1:9/gone.params'),
            row_of('net_b', 'free', CONTENT, f'{server.address}/b.params', licence='CC-BY-NC-4.0')]
    server.files |= {'/a.params': CONTENT, '/b.params': CONTENT}
    path = write_index(tmp_path / 'index.json', rows)
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(path))
    return path


def test_listing_loads_neither_mxnet_nor_numpy():
    code = ("import sys\nfrom gluon_action.cli.main import main\ncode = main(['models', 'list', '*_kinetics400'])\n"
            "print(code, [name for name in ('mxnet', 'numpy', 'gluoncv') if name in sys.modules])")
    answer = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2])
    lines = answer.stdout.splitlines()
    assert lines[-1] == '0 []', answer.stderr
    assert any(line.split()[:2] == ['resnet50_v1b_kinetics400', 'mmaction2-8seg'] for line in lines)


def test_a_pattern_that_fits_nothing_says_where_names_are(server, tmp_path, capsys):
    for argv in (['list', 'no*such'], ['mirror', tmp_path / 'mirror', '--pattern', 'no*such']):
        assert call(*argv) == 2
        assert 'gluon-action list-models all networks' in capsys.readouterr().err
    assert not (tmp_path / 'mirror').exists()


def test_info_says_what_is_known_and_what_is_there(server, index, capsys):
    assert call('download', 'net_a') == 0
    capsys.readouterr()
    assert call('info', 'NET_A') == 0
    text = capsys.readouterr().out
    for part in ('net_a best, by us', 'top-1 70 % (25x10)', 'mean 0.5, std 0.25, clip length 8', 'to be known',
                 f'{server.address}/a.params', 'a.params (sha256:', '; in the cache, verified)', 'not in the cache)'):
        assert part in text
    (index.parent / 'home' / 'models' / 'a.params').write_bytes(b'other')
    assert call('info', 'net_a') == 0 and 'in the cache, not verified yet' in capsys.readouterr().out


def test_a_download_prints_where_the_file_is_and_whose_it_is(server, index, capfd, caplog, tmp_path):
    with caplog.at_level('INFO'):
        assert call('download', 'net_b', '--root', tmp_path / 'root') == 0
    assert capfd.readouterr().out.splitlines()[-1] == str(tmp_path / 'root' / 'b.params')
    assert 'does not allow commercial use' in caplog.text and 'by us, from' in caplog.text
    assert call('download', 'net_a', '--tag', 'bets') == 1
    assert 'did you mean best?' in capfd.readouterr().err
    assert call('download', 'ner_a', '--tag', 'best') == 2
    assert 'no weights of ner_a are published; did you mean net_a' in capfd.readouterr().err


def test_verify_finds_what_has_changed_whatever_was_noted(server, index, capsys, tmp_path):
    assert call('download', 'net_a') == call('download', 'net_b') == call('verify') == 0
    path = tmp_path / 'home' / 'models' / 'a.params'
    state = path.stat()
    path.write_bytes(CONTENT[:-1] + b'?')
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a disk that lies
    capsys.readouterr()
    assert call('verify') == 1
    text = capsys.readouterr().out
    assert 'a.params: its SHA-256 is' in text and 'b.params: verified' in text
    assert 'files of weights, 1 of them wrong' in text


def test_verify_reads_what_no_row_names_but_was_taken_once(server, index, capsys, tmp_path, monkeypatch):
    assert call('download', 'net_a') == call('download', 'net_b') == 0
    monkeypatch.delenv('GLUON_ACTION_INDEX')
    capsys.readouterr()
    assert call('verify') == 0
    assert 'b.params: verified (the index does not name it' in capsys.readouterr().out
    (tmp_path / 'home' / 'models' / 'b.params').write_bytes(b'other')
    (tmp_path / 'home' / 'models' / 'a.params').unlink()
    assert call('verify') == 1
    text = capsys.readouterr().out
    assert 'b.params: its SHA-256 is' in text and '1 file of weights, 1 of them wrong' in text and 'a.par' not in text


@pytest.mark.parametrize('action', [['verify'], ['info', 'net_a'], ['purge', '--yes']])
def test_a_file_where_the_folder_of_weights_belongs_is_an_error(server, index, capsys, tmp_path, action):
    (tmp_path / 'home').write_text('')
    assert call(*action) == 2
    assert f'{tmp_path}/home is a file and no folder of weights; name another one' in capsys.readouterr().err


def test_purge_names_what_it_removes_and_holds_to_the_first_download(server, index, capsys, tmp_path):
    assert call('download', 'net_a') == 0
    (tmp_path / 'home' / 'models' / 'b.params.part').write_bytes(b'half')
    (tmp_path / 'home' / 'models' / 'mine.params').write_bytes(b'not of the index')
    assert call('purge', '--yes') == 0
    text = capsys.readouterr().out
    assert f'a.params ({len(CONTENT):,} bytes)' in text and 'b.params.part (4 bytes)' in text
    assert f'removed 2 files, {len(CONTENT) + 4:,} bytes' in text
    left = {path.name for path in (tmp_path / 'home' / 'models').iterdir()}
    assert {'mine.params', 'verified.json'} <= left and 'a.params' not in left
    assert 'the SHA-256 of 1 file is noted in' in text and '--forget' in text
    assert call('purge', 'net_a', '--forget', '--yes') == 0
    assert 'removed 0 files, 0 bytes\nforgot the SHA-256 of 1 file\n' in capsys.readouterr().out
    assert call('purge', '--forget', '--yes') == 0 and 'has nothing of that' in capsys.readouterr().out


def test_a_mirror_serves_a_machine_without_a_network(server, index, capsys, tmp_path, monkeypatch):
    mirror = tmp_path / 'mirror'
    assert call('mirror', mirror, '--pattern', 'net_*') == 1  # one of the three is not available
    text = capsys.readouterr().out
    assert f'{mirror}: 2 sets of weights are there and verified, 1 could not be had' in text
    assert f'{server.address}: answered 2 of 2 times' in text
    assert 'http://127.0.0.1:9: did not give any of 1 file: no connection' in text
    assert 'missing: net_a gone' in text
    server.paths.clear()
    assert call('mirror', mirror, '--pattern', 'net_*') == 1 and not server.paths  # what is there stays
    server.files.clear()
    monkeypatch.setenv('GLUON_ACTION_REPO', str(mirror))
    monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
    assert fetch(read_index().row('net_a', 'best'), tmp_path / 'other')[0].read_bytes() == CONTENT


@pytest.mark.parametrize('as_address', [True, False])
def test_what_a_mirror_trusted_is_not_trusted_blindly_again(server, tmp_path, monkeypatch, as_address, capsys):
    mirror, index = tmp_path / 'mirror', write_index(tmp_path / 'index.json', [
        row_of('net', 'new', CONTENT, f'{server.address}/a.params', digest='')])
    row, = read_index(index).rows_of('net')
    server.files['/a.params'] = CONTENT
    assert call('mirror', mirror, '--index', index, '--pattern', 'net') == 1  # there is nothing in it
    text = capsys.readouterr().out
    assert '0 sets of weights are there' in text and 'GLUON_ACTION_REPO' not in text
    assert '1 set of weights is left out without a published digest' in text
    assert call('mirror', mirror, '--index', index, '--pattern', 'net', '--trust-first-use') == 0
    assert call('mirror', mirror, '--index', index, '--pattern', 'net') == 0  # it is known there by now
    assert '1 set of weights is there and verified' in capsys.readouterr().out

    monkeypatch.setenv('GLUON_ACTION_REPO', f'{server.address}/mirror' if as_address else str(mirror))
    server.files = {f'/mirror/{path.name}': path.read_bytes() for path in mirror.iterdir()}
    path, = fetch(row, tmp_path / 'home')
    assert path.read_bytes() == CONTENT
    (mirror / 'a.params').write_bytes(b'exchanged')
    server.files['/mirror/a.params'] = b'exchanged'
    with pytest.raises(WeightsError, match='a.params: its SHA-256 is .* instead of'):
        fetch(row, tmp_path / 'other', trust_first_use=True)
    monkeypatch.delenv('GLUON_ACTION_REPO')
    server.paths.clear()
    assert fetch(row, tmp_path / 'home') == [path] and not server.paths


@pytest.mark.parametrize('told', [None, '{', '{"a.params": 1}'])
def test_a_mirror_that_knows_nothing_leaves_the_decision(server, tmp_path, monkeypatch, told):
    index = write_index(tmp_path / 'index.json', [row_of('net', 'new', CONTENT, 'a.params', digest='')])
    (tmp_path / 'a.params').write_bytes(CONTENT)
    if told:
        (tmp_path / 'verified.json').write_text(told)
    monkeypatch.setenv('GLUON_ACTION_REPO', str(tmp_path))
    row, = read_index(index).rows_of('net')
    with pytest.raises(WeightsError, match='us gives no digest'):
        fetch(row, tmp_path / 'home')
    assert fetch(row, tmp_path / 'home', trust_first_use=True)[0].read_bytes() == CONTENT


def test_a_mirror_has_what_the_package_brings_and_verify_reads_the_copy(server, tmp_path, capsys):
    assert call('mirror', tmp_path / 'mirror', '--pattern', 's3dg_small_demo_motion') == 0
    copy, = (tmp_path / 'mirror').glob('*.params')
    assert copy.stat().st_size == 2375908
    copy.write_bytes(b'damaged')
    capsys.readouterr()
    assert call('verify', '--root', tmp_path / 'mirror') == 1
    assert f'{copy.name}: its SHA-256 is' in capsys.readouterr().out
    assert call('verify', '--root', tmp_path / 'empty') == 0
    assert '0 files of weights, 0 of them wrong' in capsys.readouterr().out


def test_small_and_capital_letters_of_a_model_are_one(server, tmp_path, capsys):
    index = write_index(tmp_path / 'index.json', [row_of('Net_C', 'best', CONTENT, f'{server.address}/c.params')])
    server.files['/c.params'] = CONTENT
    for argv in (['list', 'NET_c*'], ['info', 'nEt_c'], ['download', 'NET_C'], ['download', 'Net_C', '--tag', 'best'],
                 ['verify', 'NET_C'], ['mirror', tmp_path / 'mirror', '--pattern', 'NET_C'],
                 ['purge', 'NET_C', '--yes']):
        assert call(*argv, '--index', index) == 0, argv
    text = capsys.readouterr().out
    assert 'net_c best, by us' in text and '1 file of weights, 0 of them wrong' in text and 'removed 1 file,' in text


def test_a_mirror_goes_on_where_it_was_interrupted(server, index, tmp_path):
    server.cuts = [100] * 4
    assert call('mirror', tmp_path / 'mirror', '--pattern', 'net_b') == 1
    assert call('mirror', tmp_path / 'mirror', '--pattern', 'net_b') == 0
    assert server.requests[-1] == 'bytes=400-'


def test_a_mirror_holds_files_and_no_links_into_a_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', server.address)
    server.files['/owner/name/resolve/0123abc/x.bin'] = CONTENT
    index = write_index(tmp_path / 'index.json', [row_of('net', 'hub', CONTENT, 'hf://owner/name@0123abc/x.bin')])
    assert call('mirror', tmp_path / 'mirror', '--pattern', 'net', '--index', index) == 0
    assert (tmp_path / 'mirror' / 'x.bin').read_bytes() == CONTENT
    assert not (tmp_path / 'mirror' / 'x.bin').is_symlink()


def test_a_full_disk_ends_a_mirror_at_once(server, index, capsys, mount_disk):
    folder = mount_disk('8k')
    assert call('mirror', folder, '--pattern', 'net_*') == 1
    assert 'No space left' in capsys.readouterr().err and len(server.paths) == 1


# One's own weights

@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
    """The folder of a run of three classes, as training leaves it."""
    import gluon_action  # noqa: F401
    from gluon_action.model_zoo import get_model
    folder = tmp_path_factory.mktemp('runs') / 'my run'
    folder.mkdir()
    net = get_model('resnet18_v1b_custom', nclass=3, input_size=32, pretrained_base=False, use_gn=True)
    net.save_parameters(str(folder / 'best.params'))
    (folder / 'config.json').write_text(json.dumps({
        'config': {'model': 'resnet18_v1b_custom', 'input_size': 32, 'num_segments': 3, 'use_gn': True,
                   'consensus': 'avg', 'new_length': 1, 'new_step': 1},
        'num_classes': 3, 'classes': ['wave', 'clap', 'jump'], 'started_from': None,
        'model': {'name': 'resnet18_v1b_custom', 'source': 'arXiv:1512.03385', 'mean': [.5] * 3, 'std': [.25] * 3},
        'lists': {'train': {'file': '/data/train.txt', 'sha256': 'ab' * 32, 'videos': 12}},
        'versions': {'python': '3.11.7'}}))
    (folder / 'metrics.jsonl').write_text('\n'.join(json.dumps({'kind': 'epoch', 'epoch': epoch, 'val_top1': top1,
                                                               'val_top5': 1.}) for epoch, top1 in ((0, .25), (1, .5))))
    return folder


def test_a_run_is_published_and_taken_by_name(server, run_dir, tmp_path, capsys):
    from gluon_action.model_zoo import get_model
    out = tmp_path / 'out'
    assert call('publish', run_dir, '--out', out, '--licence', 'MIT', '--publisher', 'us') == 0
    row, = read_index(out / 'index.json').rows_of('resnet18_v1b_custom')
    digest = row.files[0].digits
    assert {path.name for path in out.iterdir()} == {
        'index.json', *(f'resnet18_v1b_custom-my-run-{digest[:8]}{end}' for end in ('.params', '.params.json', '.md'))}
    assert (row.tag, row.licence, row.publisher) == ('my-run', 'MIT', 'us')
    assert (row.segments, row.options) == (3, {'use_gn': True})
    assert (row.top1, row.top5, row.protocol) == (50, 100, 'best validation in training')
    assert row.files[0].bytes == (run_dir / 'best.params').stat().st_size
    text = (out / f'resnet18_v1b_custom-my-run-{digest[:8]}.md').read_text()
    for part in ('# resnet18_v1b_custom my-run', digest, 'Licence: MIT', 'top-1 50 %', '`train.txt`, 12 videos',
                 '1. clap', 'mean: (0.5, 0.5, 0.5)', 'segments in training: 3', 'python: 3.11.7', '"num_segments": 3'):
        assert part in text
    assert '/data' not in text.split('## Options')[0]

    # From a server, as others would have it.
    server.files |= {f'/{path.name}': path.read_bytes() for path in out.iterdir()}
    net = get_model('resnet18_v1b_custom', pretrained='my-run', index=f'{server.address}/index.json',
                    root=tmp_path / 'models')
    assert (net.classes, net.num_classes, net.card.mean) == (['wave', 'clap', 'jump'], 3, (.5,) * 3)
    assert f'/{row.files[0].name}' in server.paths


def test_what_is_published_is_what_was_hashed_whatever_training_writes_meanwhile(run_dir, tmp_path, monkeypatch):
    from gluon_action.model_zoo import publish
    run = shutil.copytree(run_dir, tmp_path / 'run')
    others = publish._others
    monkeypatch.setattr(publish, '_others',
                        lambda *given: (run / 'best.params').write_bytes(b'a better epoch') and others(*given))
    path = publish.publish_run(run, tmp_path / 'out').parameters
    assert path.read_bytes() == (run_dir / 'best.params').read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:8] in path.name


def test_publishing_adds_to_an_index_and_replaces_its_own_row(run_dir, tmp_path, server, capsys):
    out = tmp_path / 'out'
    for tag in ('one', 'two', 'one'):
        assert call('publish', run_dir, '--out', out, '--tag', tag) == 0
    assert [row.tag for row in read_index(out / 'index.json').rows_of('resnet18_v1b_custom')] == ['two', 'one']


@pytest.mark.parametrize('change, told', [
    (lambda folder: (folder / 'best.params').unlink(), 'has no best.params'),
    (lambda folder: (folder / 'config.json').unlink(), 'has no config.json of a run'),
    (lambda folder: (folder / 'best.params').write_bytes(b'torn'), 'not a file of parameters')])
def test_what_is_no_finished_run_is_refused(run_dir, tmp_path, server, change, told, capsys):
    copy = tmp_path / 'run'
    shutil.copytree(run_dir, copy)
    change(copy)
    assert call('publish', copy, '--out', tmp_path / 'out') in (1, 2)
    assert told in capsys.readouterr().err and not (tmp_path / 'out').exists()
    assert call('publish', tmp_path / 'nothing', '--out', tmp_path / 'out') == 2
    assert 'no such folder' in capsys.readouterr().err


@pytest.mark.parametrize('content, told', [(None, 'cannot be read'), ('{}', 'is not the report of a test'),
                                           ('[]', 'is not the report'), ('{', 'is not the report')])
def test_a_report_that_is_none_is_refused(run_dir, tmp_path, content, told):
    from gluon_action.model_zoo.publish import publish_run
    if content is not None:
        (tmp_path / 'results.json').write_text(content)
    with pytest.raises(UsageError, match=f'--report: .*results.json {told}'):
        publish_run(run_dir, tmp_path / 'out', report=tmp_path)


def _report(folder, run_dir, **changes):
    digest = hashlib.sha256((run_dir / 'best.params').read_bytes()).hexdigest()
    folder.mkdir()
    (folder / 'results.json').write_text(json.dumps({'top1': .75, 'top5': 1., 'protocol': {
        'model': 'resnet18_v1b_custom', 'views': '25x10', 'average': 'probabilities',
        'weights': {'source': 'best.params', 'sha256': digest, 'sha256_of': 'file'}, **changes}}))
    return folder


def test_the_report_of_a_test_of_these_weights_gives_accuracy_and_protocol(run_dir, tmp_path):
    from gluon_action.model_zoo.publish import publish_run
    published = publish_run(run_dir, tmp_path / 'out', report=_report(tmp_path / 'report', run_dir))
    row, = read_index(published.index).rows_of('resnet18_v1b_custom')
    assert (row.top1, row.top5, row.protocol, row.average) == (75, 100, '25x10', 'probabilities')


@pytest.mark.parametrize('changes, told', [
    ({'model': 'i3d_rgb_custom'}, 'is of a test of i3d_rgb_custom, and these are weights of resnet18_v1b_custom'),
    ({'weights': {'source': 'x.params', 'sha256': 'ab' * 32, 'sha256_of': 'file'}},
     r'is of other weights \(x.params, SHA-256 abab'),
    ({'weights': None}, 'is of other weights .it does not say which')])
def test_the_report_of_other_weights_is_refused(run_dir, tmp_path, changes, told):
    from gluon_action.model_zoo.publish import publish_run
    with pytest.raises(UsageError, match=f'{told}.*--resume-params .*best.params'):
        publish_run(run_dir, tmp_path / 'out', report=_report(tmp_path / 'report', run_dir, **changes))
    assert not (tmp_path / 'out').exists()


def test_what_is_said_of_published_weights_changes_with_overwrite_only(run_dir, tmp_path, server, capsys):
    out = tmp_path / 'out'
    assert call('publish', run_dir, '--out', out, '--licence', 'MIT') == 0
    assert call('publish', run_dir, '--out', out, '--licence', 'CC0-1.0') == 2
    assert 'has another licence for resnet18_v1b_custom under the tag my-run; give' in capsys.readouterr().err
    assert [row.licence for row in read_index(out / 'index.json').rows_of('resnet18_v1b_custom')] == ['MIT']
    assert call('publish', run_dir, '--out', out, '--licence', 'CC0-1.0', '--overwrite') == 0
    assert [row.licence for row in read_index(out / 'index.json').rows_of('resnet18_v1b_custom')] == ['CC0-1.0']


PUBLISHED = {'model': 'resnet18_v1b', 'tag': 'tv', 'publisher': 'torchvision', 'licence': 'BSD-3-Clause'}


@pytest.mark.parametrize('config, model, told', [
    ({}, {}, 'not noted'), ({}, {'row': None}, 'random weights'), ({'pretrained_base': False}, {}, 'random weights'),
    ({}, {'row': PUBLISHED}, '`resnet18_v1b`, tag `tv`, by torchvision, licence BSD-3-Clause'),
    ({'resume_params': 'a/b.params'}, {'row': None}, 'the file `b.params`'),
    ({'resume_params': 'a/b.params'}, {'row': PUBLISHED}, 'the file `b.params`, of `resnet18_v1b`, tag `tv`, by '
                                                          'torchvision, licence BSD-3-Clause')])
def test_a_card_says_which_weights_the_run_started_from(run_dir, tmp_path, config, model, told):
    from gluon_action.model_zoo.publish import publish_run
    run = shutil.copytree(run_dir, tmp_path / 'run')
    about = json.loads((run / 'config.json').read_text())
    about['config'] |= config
    about['model'] |= model
    (run / 'config.json').write_text(json.dumps(about))
    assert f'- Started from: {told}\n' in publish_run(run, tmp_path / 'out').card.read_text()


def test_parameters_of_another_network_are_not_published(run_dir, tmp_path):
    from gluon_action.model_zoo.publish import publish_run
    copy = tmp_path / 'run'
    shutil.copytree(run_dir, copy)
    about = json.loads((copy / 'config.json').read_text())
    about['model']['name'] = 'i3d_rgb_custom'
    (copy / 'config.json').write_text(json.dumps(about))
    with pytest.raises(WeightsError, match='has no Logits.Conv3d_0c_1x1.weight, it is not of i3d_rgb_custom'):
        publish_run(copy, tmp_path / 'out')
