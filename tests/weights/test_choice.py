"""Which of several sets of weights is taken, and what no other set stands in for."""
import fcntl
import hashlib
import re
import subprocess

import pytest
from weights_server import WeightsServer

from gluon_action.errors import WeightsError
from gluon_action.weights import Row, WeightsFile
from gluon_action.weights.choice import fetch_best

CONTENT = b'content of weights ' * 1000
DIGEST = f'sha256:{hashlib.sha256(CONTENT).hexdigest()}'


@pytest.fixture
def server(monkeypatch):
    server = WeightsServer()
    server.files = {'/first.pth': CONTENT, '/second.pth': CONTENT}
    for name in ('GLUON_ACTION_REPO', 'GLUON_ACTION_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


def rows(server, digest=DIGEST):
    """Two sets of one model; the digest is that of the first."""
    return [Row('net', name, 'us', (WeightsFile(f'{name}.pth', (f'{server.address}/{name}.pth',), known),), 'params',
                'MIT') for name, known in (('first', digest), ('second', DIGEST))]


def taken(server, folder, digest=DIGEST):
    row, (path,) = fetch_best(rows(server, digest), folder)
    assert path.read_bytes() == CONTENT
    return row.tag


def test_what_cannot_be_had_or_is_not_trusted_is_passed_over(server, tmp_path):
    assert taken(server, tmp_path) == 'first'
    assert taken(server, tmp_path / 'untrusted', digest='') == 'second'
    del server.files['/first.pth']
    assert taken(server, tmp_path / 'gone') == 'second'


def test_other_weights_are_not_taken_because_another_process_holds_the_best(server, tmp_path, monkeypatch):
    monkeypatch.setenv('GLUON_MODEL_LOCK_TIMEOUT', '0.1')
    with open(tmp_path / 'first.lock', 'a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WeightsError, match='another process has held .*first.lock'):
            taken(server, tmp_path)
    assert taken(server, tmp_path) == 'first'


def test_other_weights_are_not_taken_because_of_the_disk(server, tmp_path, mount_disk):
    folder = mount_disk('100k')
    fetch_best(rows(server)[1:], folder)
    subprocess.run(['mount', '-o', 'remount,ro', str(folder)], check=True)
    with pytest.raises(WeightsError, match='first.*Read-only file system'):
        taken(server, folder)


def test_a_wrong_file_in_its_place_is_told_whichever_set_it_is_of(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
    (tmp_path / 'first.pth').write_bytes(b'torn')
    told = rf'{tmp_path}/first.pth is there, but its SHA-256 is [0-9a-f]{{64}} instead of {DIGEST[7:]}'
    with pytest.raises(WeightsError, match=told):
        taken(server, tmp_path)
    (tmp_path / 'second.pth').write_bytes(CONTENT)
    caplog.clear()
    assert taken(server, tmp_path) == 'second'
    assert any(re.search(f'net first is passed over: .*{told}', text) for text in caplog.messages)
