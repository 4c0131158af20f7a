"""Fetching: over a real connection that breaks in every way, from the first address that has the file."""
import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from weights_server import WeightsServer

from gluon_action.errors import UsageError, WeightsError
from gluon_action.weights import Row, WeightsFile, addresses, transfer, ways
from gluon_action.weights import fetch as fetching
from gluon_action.weights.environment import weights_root
from gluon_action.weights.fetch import fetch, state_of
from gluon_action.weights.records import Records, locked
from gluon_action.weights.verification import differs

CONTENT = np.random.RandomState(0).bytes(300_000)
SHA1 = hashlib.sha1(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BLOB = hashlib.sha1(b'blob 300000\0' + CONTENT).hexdigest()
TAG = SHA1[:8]
FILE = 'net.pth'


@pytest.fixture
def server(monkeypatch):
    server = WeightsServer()
    server.publish('net', TAG, CONTENT)
    server.files[f'/there/{FILE}'] = CONTENT
    monkeypatch.setattr(transfer, '_PAUSE', 0.01)
    monkeypatch.setenv('MXNET_GLUON_REPO', server.address)
    for name in ('MXNET_HOME', 'GLUON_ACTION_REPO', 'GLUON_ACTION_OFFLINE', 'HF_ENDPOINT'):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


def row(*files):
    return Row('net', 'tag', 'somebody', files, 'params', 'Apache-2.0')


def got(folder, name='net', tag=TAG, sha1=SHA1):
    """A file of GluonCV's: an archive on its server."""
    return fetch(row(WeightsFile(f'{name}-{tag}.params', (f'mxnet://{name}-{tag}.zip',), f'sha1:{sha1}')), folder)[0]


def plain(folder, server, digest=f'sha256:{SHA256}', urls=None, size=None, **options):
    """A file that is at an address as it is."""
    return fetch(row(WeightsFile(FILE, urls or (f'{server.address}/there/{FILE}',), digest, size)), folder,
                 **options)[0]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once_and_nothing_else_is_left(server, tmp_path):
    path = got(tmp_path)
    assert path.read_bytes() == CONTENT
    assert got(tmp_path) == path
    assert server.requests == [None]
    assert names(tmp_path) == [f'net-{TAG}.lock', f'net-{TAG}.params', 'verified.json', 'verified.lock']


def test_a_download_that_breaks_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert got(tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, 'bytes=100000-', 'bytes=150000-']


def test_the_next_call_goes_on_where_the_last_one_gave_up(server, tmp_path):
    server.cuts = [100_000, 1000, 1000, 1000]
    with pytest.raises(WeightsError, match='ended after 103000 of 300.* bytes, after 4 attempts'):
        got(tmp_path)
    assert got(tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == 'bytes=103000-'


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.cuts, server.ranges = [100_000], False
    assert got(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize('rest', [b'left by another version', b'x' * 400_000])
@pytest.mark.parametrize('tells_size', [True, False])
def test_a_part_that_does_not_belong_is_thrown_away(server, tmp_path, rest, tells_size):
    server.tells_size = tells_size
    (tmp_path / f'net-{TAG}.zip.part').write_bytes(rest)
    assert got(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize('tells_size', [True, False])
def test_a_whole_part_whose_size_nobody_knew_is_the_file(server, tmp_path, tells_size):
    server.tells_size = tells_size
    (tmp_path / f'{FILE}.part').write_bytes(CONTENT)
    (tmp_path / f'net-{TAG}.zip.part').write_bytes(server.files[f'/gluon/models/net-{TAG}.zip'])
    assert plain(tmp_path, server).read_bytes() == got(tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2 and None not in server.requests


def test_a_part_that_is_too_long_does_not_use_up_the_only_attempt(server, tmp_path):
    (tmp_path / 'part').write_bytes(b'x' * 400_000)
    transfer.download(f'{server.address}/there/{FILE}', tmp_path / 'part', attempts=1)
    assert (tmp_path / 'part').read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    server.failures = [503, 500]
    assert got(tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_asked_for_once(server, tmp_path):
    with pytest.raises(WeightsError, match='x-12345678.params cannot be downloaded from http.*678.zip: HTTP 404'):
        got(tmp_path, 'x', '12345678', '12345678')
    assert len(server.requests) == 1


def test_content_of_another_hash_is_refused_with_both_hashes(server, tmp_path):
    wrong = '0' * 40
    server.publish('net', wrong[:8], CONTENT)
    with pytest.raises(WeightsError, match=f'its SHA-1 is {SHA1} instead of {wrong}'):
        got(tmp_path, 'net', wrong[:8], wrong)
    assert names(tmp_path) == ['net-00000000.lock']


def test_all_forty_digits_are_checked(server, tmp_path):
    almost = SHA1[:-1] + ('0' if SHA1[-1] != '0' else '1')
    with pytest.raises(WeightsError, match='its SHA-1 is'):
        got(tmp_path, 'net', TAG, almost)


@pytest.mark.parametrize('member', ['evil.params', '../net-{tag}.params', 'folder/net-{tag}.params'])
def test_an_archive_with_other_members_is_refused_and_writes_nothing(server, tmp_path, member):
    server.publish('net', TAG, CONTENT, member=member.format(tag=TAG))
    with pytest.raises(WeightsError, match='the archive holds .* instead of net-'):
        got(tmp_path / 'models')
    assert names(tmp_path) == ['models'] and names(tmp_path / 'models') == [f'net-{TAG}.lock']


def test_something_that_is_no_archive_is_refused(server, tmp_path):
    server.files[f'/gluon/models/net-{TAG}.zip'] = b'log in first'
    with pytest.raises(WeightsError, match='not a whole zip archive'):
        got(tmp_path)
    assert names(tmp_path) == [f'net-{TAG}.lock']


def test_a_damaged_file_is_replaced_with_a_warning(server, tmp_path, caplog):
    (tmp_path / f'net-{TAG}.params').write_bytes(CONTENT[:-1])
    assert got(tmp_path).read_bytes() == CONTENT
    assert 'downloading it again' in caplog.text


def test_a_damaged_file_stays_when_its_replacement_cannot_be_had(server, tmp_path):
    server.failures = [404]
    (tmp_path / f'net-{TAG}.params').write_bytes(b'mine')
    with pytest.raises(WeightsError):
        got(tmp_path)
    assert (tmp_path / f'net-{TAG}.params').read_bytes() == b'mine'


def test_callers_at_the_same_time_download_once(server, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(got(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(server.requests) == 1


def test_a_lock_that_is_never_released_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setenv('GLUON_MODEL_LOCK_TIMEOUT', '0.3')
    with open(tmp_path / f'net-{TAG}.lock', 'a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WeightsError, match=r'another process has held .*\.lock'):
            got(tmp_path)


def test_who_holds_a_lock_is_named_with_the_way_out(server, tmp_path, monkeypatch):
    (tmp_path / 'net.lock').write_text('process 1 on a machine that held it before')
    monkeypatch.setenv('GLUON_MODEL_LOCK_TIMEOUT', '0.1')
    with locked(tmp_path / 'net.lock', 0), pytest.raises(WeightsError) as caught:
        plain(tmp_path, server)
    assert f'net.lock for 0.1 s (process {os.getpid()} on ' in str(caught.value)
    assert '; wait until it has finished, or let this one wait longer with GLUON_MODEL_LOCK_TIME' in str(caught.value)


@pytest.mark.parametrize('told', ['soon', 'nan', '-1'])
def test_a_patience_that_is_no_number_of_seconds_is_named(server, tmp_path, monkeypatch, told):
    monkeypatch.setenv('GLUON_MODEL_LOCK_TIMEOUT', told)
    with pytest.raises(UsageError, match=f"GLUON_MODEL_LOCK_TIMEOUT: a number of seconds.*got '{told}'"):
        plain(tmp_path, server)


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(server, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(WeightsError, match='name another folder with MXNET_HOME, --root'):
        got(tmp_path / 'file' / 'models')


def test_an_explicit_root_beats_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('MXNET_HOME', '/elsewhere')
    assert str(weights_root()) == '/elsewhere/models'
    assert weights_root(tmp_path) == tmp_path
    monkeypatch.delenv('MXNET_HOME')
    assert weights_root().parts[-2:] == ('.mxnet', 'models')


# A file at an address as it is.

@pytest.mark.parametrize('digest', [f'sha256:{SHA256}', f'sha256:{SHA256[:8]}', f'sha1:{SHA1}', f'git-blob:{BLOB}'])
def test_every_kind_of_digest_is_checked(server, tmp_path, digest):
    assert plain(tmp_path, server, digest).read_bytes() == CONTENT
    flipped = digest[:-1] + ('0' if digest[-1] != '0' else '1')
    with pytest.raises(WeightsError, match='instead of'):
        plain(tmp_path / 'other', server, flipped)
    assert names(tmp_path / 'other') == ['net.lock']


@pytest.mark.parametrize('cut', [0, 1, 7, 299_999])
def test_a_file_that_is_cut_anywhere_is_made_whole(server, tmp_path, cut):
    server.cuts = [cut]
    assert plain(tmp_path, server).read_bytes() == CONTENT
    assert server.requests == [None, f'bytes={cut}-' if cut else None]


def test_wrong_bytes_of_the_right_length_are_refused_and_asked_for_elsewhere(server, tmp_path):
    server.files['/first'] = CONTENT[:-1] + b'?'
    urls = (f'{server.address}/first', f'{server.address}/there/{FILE}')
    assert plain(tmp_path, server, urls=urls, size=len(CONTENT)).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match='first: its SHA-256 is .* instead of'):
        plain(tmp_path / 'other', server, urls=urls[:1])


def test_a_file_of_another_size_is_not_even_downloaded(server, tmp_path):
    with pytest.raises(WeightsError, match='it has 300,000 bytes there instead of 299,999'):
        plain(tmp_path, server, size=299_999)


def test_a_part_of_another_version_is_not_gone_on_with(server, tmp_path):
    path = f'/there/{FILE}'
    server.tags[path], server.files[path] = '"old"', bytes(300_000)
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(WeightsError, match='after 4 attempts'):
        plain(tmp_path, server)
    server.tags[path], server.files[path] = '"new"', CONTENT
    server.requests.clear()
    assert plain(tmp_path, server).read_bytes() == CONTENT
    assert server.requests == ['bytes=100000-']  # answered with all of it: one request is enough
    assert names(tmp_path) == ['net.lock', FILE, 'verified.json', 'verified.lock']


# Without a digest nothing would tell that two files were put together.

def untold(folder, server, **options):
    return plain(folder, server, '', trust_first_use=True, **options).read_bytes()


def test_without_a_digest_a_part_of_unknown_version_is_thrown_away(server, tmp_path):
    (tmp_path / f'{FILE}.part').write_bytes(bytes(100_000))
    server.tags[f'/there/{FILE}'] = '"new"'
    assert untold(tmp_path, server) == CONTENT
    assert server.requests == [None]
    (tmp_path / 'whole').mkdir()
    (tmp_path / 'whole' / f'{FILE}.part').write_bytes(bytes(300_000))  # whole, by its size
    assert untold(tmp_path / 'whole', server, size=300_000) == CONTENT


def test_without_a_digest_a_part_is_not_gone_on_with_at_another_address(server, tmp_path):
    server.files['/first'], server.tags['/first'] = bytes(300_000), '"first"'
    server.tags[f'/there/{FILE}'], server.cuts = '"second"', [100_000, 0, 0, 0]
    assert untold(tmp_path, server, urls=(f'{server.address}/first', f'{server.address}/there/{FILE}')) == CONTENT
    assert server.requests == [None, *['bytes=100000-'] * 3, None]


def test_without_a_digest_the_rest_of_another_version_is_not_taken(server, tmp_path):
    path = f'/there/{FILE}'
    server.careless, server.tags[path], server.files[path] = True, '"old"', bytes(300_000)
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(WeightsError, match='after 4 attempts'):
        untold(tmp_path, server)
    server.tags[path], server.files[path] = '"new"', CONTENT
    assert untold(tmp_path, server) == CONTENT
    assert server.requests[-2:] == ['bytes=100000-', None]


@pytest.mark.parametrize('tells_size, asked', [(True, ['bytes=300000-']), (False, ['bytes=300000-', None])])
def test_without_a_digest_a_whole_part_is_taken_where_version_and_size_are_told(server, tmp_path, tells_size, asked):
    server.tags[f'/there/{FILE}'], server.tells_size = '"known"', tells_size
    (tmp_path / f'{FILE}.part').write_bytes(CONTENT)
    (tmp_path / f'{FILE}.part.version').write_text(json.dumps({'url': f'{server.address}/there/{FILE}',
                                                              'version': '"known"'}))
    assert untold(tmp_path, server) == CONTENT
    assert server.requests == asked


@pytest.mark.parametrize('tag, asked', [('"known"', 'bytes=100000-'), ('W/"about this"', None), (None, None)])
def test_without_a_digest_a_part_is_gone_on_with_where_the_server_tells_its_version(server, tmp_path, tag, asked):
    server.tags[f'/there/{FILE}'], server.cuts = tag, [100_000]
    assert untold(tmp_path, server) == CONTENT
    assert (server.requests, server.conditions) == ([None, asked], [None, asked and tag])


def test_what_was_noted_at_the_first_download_lets_any_part_be_gone_on_with(server, tmp_path):
    untold(tmp_path, server)
    (tmp_path / FILE).unlink()
    (tmp_path / f'{FILE}.part').write_bytes(CONTENT[:100_000])
    assert untold(tmp_path, server) == CONTENT
    assert server.requests == [None, 'bytes=100000-']


def test_a_weak_tag_promises_nothing_and_is_not_asked_for(server, tmp_path):
    server.tags[f'/there/{FILE}'], server.cuts = 'W/"about this"', [100_000]
    assert plain(tmp_path, server).read_bytes() == CONTENT
    assert (server.requests, server.conditions) == ([None, 'bytes=100000-'], [None, None])


def test_bytes_from_another_place_than_asked_for_are_not_put_together(server, tmp_path):
    server.cuts, server.shift = [100_000], 10
    assert plain(tmp_path, server).read_bytes() == CONTENT
    assert server.requests == [None, 'bytes=100000-', None]


def test_a_whole_part_needs_no_request(server, tmp_path):
    (tmp_path / f'{FILE}.part').write_bytes(CONTENT)
    assert plain(tmp_path, server, size=len(CONTENT)).read_bytes() == CONTENT
    assert not server.requests


@pytest.mark.timeout(20)  # with the patience that others get it would take minutes
def test_the_server_of_the_retired_project_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.delenv('MXNET_GLUON_REPO', raising=False)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        monkeypatch.setattr(addresses, 'REPOSITORY', f'http://127.0.0.1:{silent.getsockname()[1]}/')
        monkeypatch.setattr(addresses, '_PATIENCE_WITH_THE_RETIRED', 0.2)
        with pytest.raises(WeightsError, match=r'zip: the connection broke \(timed out\); with the file'):
            got(tmp_path)


def test_a_part_is_gone_on_with_at_another_address(server, tmp_path):
    server.files['/first'] = CONTENT
    server.cuts = [100_000, 1000, 1000, 1000]
    assert plain(tmp_path, server, urls=(f'{server.address}/first', f'{server.address}/there/{FILE}')).is_file()
    assert (server.paths[-1], server.requests[-1]) == (f'/there/{FILE}', 'bytes=103000-')


@pytest.mark.parametrize('content, kind', [
    (b'<html>log in</html>', None), (b'\n<!DOCTYPE html><title>Log in\n</title>', None),
    (CONTENT, 'text/html; charset=utf-8')])
def test_a_login_page_is_told_as_one(server, tmp_path, content, kind):
    server.files['/page'] = content
    if kind:
        server.types['/page'] = kind
    with pytest.raises(WeightsError, match='a web page.* came instead of the file: a proxy.*/page'):
        plain(tmp_path, server, urls=(f'{server.address}/page',))
    assert names(tmp_path) == ['net.lock']


def test_a_circle_of_redirects_ends(server, tmp_path):
    server.moved = {'/a': '/b', '/b': '/a', '/c': f'/there/{FILE}'}
    with pytest.raises(WeightsError, match='HTTP 302: it leads in a circle'):
        plain(tmp_path, server, urls=(f'{server.address}/a',))
    assert plain(tmp_path, server, urls=(f'{server.address}/c',)).read_bytes() == CONTENT


@pytest.mark.parametrize('status, asked', [(404, 1), (403, 1), (410, 1), (500, 4), (503, 4), (429, 4)])
def test_who_refuses_is_named_and_who_is_busy_is_asked_again(server, tmp_path, status, asked):
    server.failures = [status] * 4
    with pytest.raises(WeightsError, match=f'HTTP {status}'):
        plain(tmp_path, server)
    assert len(server.paths) == asked


def test_every_address_and_what_happened_there_is_in_the_message(server, tmp_path):
    server.failures = [404]
    urls = (f'{server.address}/gone', 'http://127.0.0.1:9/closed', 'hf://owner/name@0123abc/model.bin')
    os.environ['HF_ENDPOINT'] = f'{server.address}/hub'
    try:
        with pytest.raises(WeightsError) as caught:
            plain(tmp_path, server, urls=urls, size=300_000, own_copy=True)
    finally:
        del os.environ['HF_ENDPOINT']
    for part in (f'{server.address}/gone: HTTP 404', 'nor from http://127.0.0.1:9/closed: no connection',
                 f'{server.address}/hub/owner/name/resolve/0123abc/model.bin: HTTP 404',
                 f'(sha256:{SHA256}, 300,000 bytes), put it at {tmp_path / FILE}'):
        assert part in str(caught.value)


# What is known of a file

def test_a_verified_file_is_not_read_again(server, tmp_path, monkeypatch):
    plain(tmp_path, server)
    monkeypatch.setattr(hashlib, 'sha256', None)  # whoever hashes fails
    assert plain(tmp_path, server) == tmp_path / FILE


def test_a_file_is_verified_anew_against_another_digest(server, tmp_path):
    plain(tmp_path, server)
    with pytest.raises(WeightsError, match=f'{FILE} is there, but its SHA-1 is {SHA1} instead of 00000000'):
        plain(tmp_path, server, 'sha1:00000000')


def test_a_file_that_has_changed_is_read_again_and_replaced(server, tmp_path, caplog):
    path = plain(tmp_path, server)
    state = path.stat()
    path.write_bytes(b'?' + CONTENT[1:])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert plain(tmp_path, server).read_bytes() == CONTENT
    assert 'downloading it again' in caplog.text


@pytest.mark.parametrize('exchange', [
    lambda path, content: path.write_bytes(content),
    lambda path, content: (path.with_name('other').write_bytes(content), os.replace(path.with_name('other'), path))])
def test_a_change_that_restores_the_times_is_noticed(server, tmp_path, exchange):
    path = plain(tmp_path, server)
    state = path.stat()
    time.sleep(.02)  # longer than the steps of a file system's clock
    exchange(path, b'?' + CONTENT[1:])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert plain(tmp_path, server).read_bytes() == CONTENT


@pytest.mark.parametrize('digest', [f'sha256:{SHA256}', f'git-blob:{BLOB}'])
def test_however_a_file_came_it_is_not_read_again(server, tmp_path, monkeypatch, digest):
    (tmp_path / FILE).write_bytes(CONTENT)
    (tmp_path / 'hand').mkdir()
    (tmp_path / 'hand' / FILE).write_bytes(CONTENT)
    monkeypatch.setenv('GLUON_ACTION_REPO', str(tmp_path))
    for name in ('copied', 'hand'):
        plain(tmp_path / name, server, digest)
    got(tmp_path / 'archive')
    assert server.paths == [f'/gluon/models/net-{TAG}.zip']
    with monkeypatch.context() as context:
        context.setattr(hashlib, 'sha256', None)  # whoever hashes fails
        for name in ('copied', 'hand'):
            plain(tmp_path / name, server, digest)
        got(tmp_path / 'archive')


@pytest.fixture
def exchanged(monkeypatch):
    """Returns a function: the file at the path is exchanged as soon as a hash is known."""
    def exchange(path):
        for module in (fetching, ways):
            monkeypatch.setattr(module, 'differs',
                                lambda *given: (path.write_bytes(bytes(300_001)), differs(*given))[1])
    return exchange


def test_a_change_after_it_was_hashed_is_not_vouched_for(server, tmp_path, exchanged):
    (tmp_path / FILE).write_bytes(CONTENT)
    exchanged(tmp_path / FILE)
    plain(tmp_path, server)
    assert not Records(tmp_path).vouch(WeightsFile(FILE, (), f'sha256:{SHA256}'))


def test_what_is_copied_from_a_folder_is_what_was_hashed(server, tmp_path, monkeypatch, exchanged):
    (tmp_path / FILE).write_bytes(CONTENT)
    monkeypatch.setenv('GLUON_ACTION_REPO', str(tmp_path))
    exchanged(tmp_path / FILE)
    assert plain(tmp_path / 'a', server).read_bytes() == CONTENT


def test_a_file_that_was_put_there_by_hand_is_verified_and_kept(server, tmp_path):
    (tmp_path / FILE).write_bytes(CONTENT)
    plain(tmp_path, server)
    assert not server.paths and json.loads((tmp_path / 'verified.json').read_text())[FILE]['sha256'] == SHA256


@pytest.mark.parametrize('digest', ['sha256:' + SHA256[:8], ''])
def test_the_first_good_download_is_held_to(server, tmp_path, digest):
    trust = {'trust_first_use': not digest}
    plain(tmp_path, server, digest, **trust).unlink()
    assert plain(tmp_path, server, digest).read_bytes() == CONTENT  # trusted once is trusted
    (tmp_path / FILE).unlink()
    records = json.loads((tmp_path / 'verified.json').read_text())
    records[FILE]['sha256'] = SHA256[:8] + '0' * 56
    (tmp_path / 'verified.json').write_text(json.dumps(records))
    told = f'was noted when it first came from {server.address}/.*purge MODEL --forget'
    with pytest.raises(WeightsError, match=told):
        plain(tmp_path, server, digest, **trust)
    assert not (tmp_path / FILE).exists()


def test_a_row_without_a_digest_is_refused_unless_trusted(server, tmp_path):
    with pytest.raises(WeightsError, match='net.pth: somebody gives no digest .*--trust-first-use'):
        plain(tmp_path, server, '')
    assert not server.paths
    assert plain(tmp_path, server, '', trust_first_use=True).read_bytes() == CONTENT


def test_a_file_without_a_digest_that_is_there_waits_to_be_trusted(server, tmp_path, monkeypatch):
    monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
    (tmp_path / FILE).write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=f'--trust-first-use .* to take {tmp_path / FILE}, put there already'):
        plain(tmp_path, server, '')
    assert plain(tmp_path, server, '', trust_first_use=True) == tmp_path / FILE


@pytest.mark.parametrize('in_mirror', [True, False])
def test_a_web_page_is_not_trusted_wherever_it_lies(server, tmp_path, monkeypatch, in_mirror):
    place = tmp_path / 'mirror' if in_mirror else tmp_path
    monkeypatch.setenv('GLUON_ACTION_REPO', str(tmp_path / 'mirror'))
    place.mkdir(exist_ok=True)
    (place / FILE).write_bytes(b'<!DOCTYPE html><title>Log in</title>')
    with pytest.raises(WeightsError, match='it is a web page "Log in"'):
        plain(tmp_path, server, '', urls=(f'{server.address}/gone',), trust_first_use=True)
    assert Records(tmp_path).sha256(FILE) is None
    assert plain(tmp_path, server, '', trust_first_use=True).read_bytes() == CONTENT


def test_what_was_put_there_by_hand_is_not_called_a_download(server, tmp_path):
    (tmp_path / FILE).write_bytes(b'mine')
    plain(tmp_path, server, '', trust_first_use=True).unlink()
    with pytest.raises(WeightsError, match='was noted when one that had been put there by hand was first taken; if'):
        plain(tmp_path, server, '')
    assert Records(tmp_path).forget([FILE, 'other']) == [FILE]
    assert plain(tmp_path, server, '', trust_first_use=True).read_bytes() == CONTENT


@pytest.mark.parametrize('text', ['', '[]', '{"net.pth": {}}', '{"net.pth": 1}'])
def test_damaged_records_are_named_with_the_way_out(server, tmp_path, text):
    (tmp_path / 'verified.json').write_text(text)
    with pytest.raises(WeightsError, match='verified.json: is damaged .* remove it'):
        plain(tmp_path, server)


def test_a_file_is_good_also_where_that_cannot_be_noted(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('GLUON_MODEL_LOCK_TIMEOUT', '0.1')
    with open(tmp_path / 'verified.lock', 'a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert plain(tmp_path, server).read_bytes() == CONTENT
    assert f'{FILE} is verified, but that cannot be noted: another process has held' in caplog.text


def test_a_file_is_good_also_where_its_note_has_no_room(server, mount_disk, caplog):
    folder = mount_disk('296k')
    (folder / FILE).write_bytes(CONTENT)  # 74 pages of 4k: the disk is full
    assert plain(folder, server).read_bytes() == CONTENT
    assert f'{FILE} is verified, but that cannot be noted: ' in caplog.text and 'No space left' in caplog.text


# Mirrors and no network

@pytest.mark.parametrize('as_address', [True, False])
def test_a_mirror_is_asked_first_and_what_it_lacks_comes_from_elsewhere(server, tmp_path, monkeypatch, as_address):
    mirror = tmp_path / 'mirror'
    mirror.mkdir()
    monkeypatch.setenv('GLUON_ACTION_REPO', f'{server.address}/mirror/' if as_address else str(mirror))
    assert plain(tmp_path / 'a', server).read_bytes() == CONTENT
    server.files[f'/mirror/net-{TAG}.params'] = CONTENT
    (mirror / f'net-{TAG}.params').write_bytes(CONTENT)
    server.paths.clear()
    assert got(tmp_path / 'b').read_bytes() == CONTENT
    assert server.paths == ([f'/mirror/net-{TAG}.params'] if as_address else [])


def test_a_wrong_file_in_a_mirror_is_passed_over(server, tmp_path, monkeypatch):
    (tmp_path / FILE).write_bytes(b'wrong')
    monkeypatch.setenv('GLUON_ACTION_REPO', str(tmp_path))
    assert plain(tmp_path / 'a', server).read_bytes() == CONTENT
    assert (tmp_path / FILE).read_bytes() == b'wrong'


def test_offline_nobody_is_asked_and_the_message_says_what_to_put_where(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
    with pytest.raises(WeightsError) as caught:
        plain(tmp_path, server)
    assert not server.paths
    for part in (FILE, f'{server.address}/there/{FILE}: GLUON_ACTION_OFFLINE is set', SHA256, str(tmp_path / FILE)):
        assert part in str(caught.value)
    (tmp_path / FILE).write_bytes(b'not it')
    with pytest.raises(WeightsError, match=f'net.pth is there, but its SHA-256 is .* instead of {SHA256}'):
        plain(tmp_path, server)
    assert 'looking for it elsewhere' in caplog.text and 'downloading' not in caplog.text
    (tmp_path / FILE).write_bytes(CONTENT)
    assert plain(tmp_path, server) == tmp_path / FILE


def test_offline_the_sites_own_mirror_is_asked_and_nobody_else(server, tmp_path, monkeypatch):
    elsewhere = f'http://localhost:{server.server_address[1]}'  # another name is another server
    monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
    monkeypatch.setenv('GLUON_ACTION_REPO', f'{server.address}/mirror')
    with pytest.raises(WeightsError, match=f'mirror/{FILE}: HTTP 404 .*localhost.*: GLUON_ACTION_OFFLINE is set'):
        plain(tmp_path, server, urls=(f'{elsewhere}/there/{FILE}',))
    assert server.paths == [f'/mirror/{FILE}']
    server.moved = {f'/mirror/{FILE}': f'{elsewhere}/there/{FILE}'}
    with pytest.raises(WeightsError, match=f'mirror/{FILE}: GLUON_ACTION_OFFLINE is set'):
        plain(tmp_path, server, urls=(f'{elsewhere}/there/{FILE}',))
    server.moved = {f'/mirror/{FILE}': f'/there/{FILE}'}
    assert plain(tmp_path, server, urls=(f'{elsewhere}/there/{FILE}',)).read_bytes() == CONTENT


@pytest.mark.parametrize('told, meant', [('localhost:8766', '; did you mean http://localhost:8766'), ('ftp://x/y', ''),
                                         ('file:///x', ''), ('10.0.0.1:80/weights', '; did you mean http://10')])
def test_a_mirror_that_is_neither_folder_nor_address_is_refused(server, tmp_path, monkeypatch, told, meant):
    monkeypatch.setenv('GLUON_ACTION_REPO', told)
    with pytest.raises(UsageError, match=f"REPO: a folder, or an address that begins with http.*got '{told}'{meant}"):
        plain(tmp_path, server)


# Disks and processes

def test_a_full_disk_is_named_and_no_part_is_left(server, tmp_path, mount_disk):
    folder = mount_disk('100k')
    with pytest.raises(WeightsError, match='No space left.*MB are free.*name another folder with MXNET_HOME, --root'):
        plain(folder, server)
    assert FILE not in names(folder) and not [name for name in names(folder) if 'part' in name]


def test_a_read_only_cache_serves_what_it_has(server, tmp_path, mount_disk):
    folder = mount_disk('1m')
    plain(folder, server)
    (folder / f'net-{TAG}.params').write_bytes(CONTENT)  # that nobody has verified yet
    subprocess.run(['mount', '-o', 'remount,ro', str(folder)], check=True)
    assert plain(folder, server).read_bytes() == CONTENT
    assert got(folder).read_bytes() == CONTENT
    known = WeightsFile(FILE, ('https://nowhere/x',), f'sha256:{SHA256}')
    assert state_of(known, folder, read=True) == 'verified'
    with pytest.raises(WeightsError, match='Read-only file system; name another folder with MXNET_HOME, --root'):
        got(folder, 'other')


def test_two_processes_download_once(server, tmp_path):
    code = ('import sys\nfrom gluon_action.weights import Row, WeightsFile\n'
            'from gluon_action.weights.fetch import fetch\n'
            'file = WeightsFile("net.pth", (sys.argv[1],), sys.argv[2])\n'
            'print(fetch(Row("net", "tag", "somebody", (file,), "params", "x"), sys.argv[3])[0])')
    argv = [sys.executable, '-c', code, f'{server.address}/there/{FILE}', f'sha256:{SHA256}', str(tmp_path)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [str(tmp_path / FILE)] * 2
    assert len(server.paths) == 1


# Hugging Face's library

def test_the_hub_fills_its_own_cache_and_ours_points_there(server, tmp_path, monkeypatch):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setenv('HF_ENDPOINT', server.address)
    commit = '0123456789' * 4
    server.files[f'/owner/name/resolve/{commit}/model.bin'] = CONTENT
    server.tags[f'/owner/name/resolve/{commit}/model.bin'] = f'"{SHA256}"'
    server.commit = commit
    path = plain(tmp_path / 'models', server, urls=(f'hf://owner/name@{commit}/model.bin',))
    assert path.read_bytes() == CONTENT and path.resolve().is_relative_to((tmp_path / 'hub').resolve())
    server.paths.clear()
    assert plain(tmp_path / 'models', server, urls=(f'hf://owner/name@{commit}/model.bin',)) == path
    assert not server.paths
    path.resolve().write_bytes(b'damaged')
    assert plain(tmp_path / 'models', server, urls=(f'hf://owner/name@{commit}/model.bin',)).read_bytes() == CONTENT


def test_a_hub_that_is_silent_is_not_asked_again_and_again(tmp_path, monkeypatch):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    file = WeightsFile(FILE, ('hf://owner/name@0123abc/model.bin',), f'sha256:{SHA256}')
    begun = time.monotonic()
    with pytest.raises(WeightsError, match='hf://owner/name@0123abc/model.bin: no connection'):
        fetch(row(file), tmp_path / 'models')
    assert time.monotonic() - begun < 5


@pytest.mark.filterwarnings('ignore:Not enough free disk space')
def test_a_disk_that_refuses_the_cache_of_the_hub_is_named_with_the_way_out(server, tmp_path, monkeypatch, mount_disk):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(mount_disk('100k') / 'hub'))
    monkeypatch.setenv('HF_ENDPOINT', server.address)
    server.commit = '0123456789' * 4
    path = f'/owner/name/resolve/{server.commit}/model.bin'
    server.files[path], server.tags[path] = CONTENT, f'"{SHA256}"'
    with pytest.raises(WeightsError, match='cache of huggingface_hub: .*No space left.*name another folder with HF_H'):
        plain(tmp_path / 'models', server, urls=(f'hf://owner/name@{server.commit}/model.bin',))


@pytest.mark.parametrize('theirs', ['precious', ''])
def test_a_link_laid_where_a_download_goes_is_not_followed(tmp_path, server, theirs):
    (tmp_path / 'theirs').write_text(theirs)
    (tmp_path / f'{FILE}.part').symlink_to(tmp_path / 'theirs')
    with pytest.raises(WeightsError, match=f'{FILE}.part: cannot be written: Too many levels of symbolic links'):
        plain(tmp_path, server)
    assert (tmp_path / 'theirs').read_text() == theirs
