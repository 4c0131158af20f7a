"""The page: what it answers, whom it refuses, its limits, and that nothing of a video stays."""
import asyncio
import http.client
import json
import os
import socket
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from bundles import CLIPS, LABELS, make_bundle
from PIL import Image
from videos import write_video

from gluon_action.cli import serve as command
from gluon_action.cli.command import run
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.deploy.serve import uploads
from gluon_action.deploy.serve.guard import Guard
from gluon_action.deploy.serve.server import check_address, listen, make_server, url_of
from gluon_action.deploy.serve.uploads import Refused, check_video, receive
from gluon_action.errors import UsageError


class Server:
    """The app on a port of this machine, and requests to it."""

    def __init__(self, predictor, **limits):
        pytest.importorskip('starlette')
        pytest.importorskip('uvicorn')
        from gluon_action.deploy.serve.app import Limits, make_app
        self.socket = listen('127.0.0.1', 0)
        self.server = make_server(make_app(predictor, Limits(**limits)))
        self.thread = threading.Thread(target=self.server.run, kwargs={'sockets': [self.socket]})

    def __enter__(self):
        self.thread.start()
        for _ in range(500):
            if self.server.started:
                return self
            time.sleep(0.01)
        raise AssertionError('it did not start')

    def __exit__(self, *exception):
        self.server.should_exit = True
        self.thread.join(30)
        self.socket.close()
        assert not self.thread.is_alive()

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def ask(self, place, body=None, headers=(), method=None):
        """Status, headers and content."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.request(method or ('GET' if body is None else 'POST'), place, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, \
                json.loads(content) if 'json' in answer.getheader('content-type', '') else content.decode()
        finally:
            connection.close()


class Slow:
    """Takes its time for every window."""

    def __init__(self, seconds):
        self.seconds, self.together, self.most = seconds, 0, 0

    def run(self, input):
        self.together += 1
        self.most = max(self.most, self.together)
        time.sleep(self.seconds)
        self.together -= 1
        return np.zeros((len(input), 3), np.float32)


class Means:
    preprocess, labels, name = CLIPS, LABELS, 'slow'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('serve')
    make_bundle(folder / 'bundle', labels=['<b>rest</b>', 'wave', 'jump'])
    write_video(folder / 'a.mp4', 30)
    write_video(folder / 'b.mkv', 6)
    return folder


@pytest.fixture(scope='module')
def served(place):
    with Server(Predictor(place / 'bundle', threads=1), megabytes=1) as server:
        yield server


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Where videos are kept while they are looked at."""
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    return tmp_path


# ---------------------------------------------------------------- answers

@pytest.mark.parametrize('name', ['a.mp4', 'b.mkv'])
def test_a_video_that_is_sent_is_answered_as_predict_does(place, served, name):
    status, _, found = served.ask('/api/predict', (place / name).read_bytes())
    expected = Predictor(place / 'bundle')(place / name)
    assert status == 200 and found['label'] == expected.label and found['found'] == [expected.label]
    assert found['score'] == pytest.approx(expected.score) and found['duration'] == pytest.approx(expected.duration)
    assert found['segments'] == [pytest.approx(segment.as_dict()) for segment in expected.segments]
    assert [top['label'] for top in found['top']] == [label for label, _ in expected.top(3)]
    assert found['curves'][0]['probabilities'] == pytest.approx(
        [window.probabilities[expected.index] for window in expected.windows], abs=1e-4)
    assert 'path' not in found and str(place) not in json.dumps(found)


def test_the_page_asks_nobody_else(served):
    for name in ('/', '/page.js', '/page.css'):
        status, headers, content = served.ask(name)
        assert status == 200 and 'http://' not in content.replace('http://www.w3.org/2000/svg', '')
        assert 'https://' not in content and 'innerHTML' not in content and '//cdn' not in content
        policy = headers['content-security-policy']
        assert "default-src 'none'" in policy and 'unsafe' not in policy and "frame-ancestors 'none'" in policy
        assert headers['x-content-type-options'] == 'nosniff' and headers['cache-control'] == 'no-store'
    status, _, about = served.ask('/api/model')
    assert about['model'] == 'means' and about['labels'][1] == 'wave' and about['max_mb'] == 1
    assert served.ask('/api/status')[2] == {'running': 0, 'waiting': 0, 'arriving': 0}
    assert served.ask('/api/predict')[0] == 405 and served.ask('/../app.py')[0] == 404


def test_below_the_threshold_it_says_none_of_these(place):
    with Server(Predictor(place / 'bundle', threshold=0.999)) as server:
        _, _, found = server.ask('/api/predict', (place / 'a.mp4').read_bytes())
    assert (found['label'], found['index'], found['segments']) == ('none of these', None, [])


# ---------------------------------------------------------------- what is refused

PLAYLISTS = {'m3u8': '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n',
             'ffconcat': 'ffconcat version 1.0\nfile {video}\n', 'sdp': 'v=0\nm=video 0 RTP/AVP 96\n',
             'mpd': '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>'}


@pytest.mark.parametrize('body, status, told', [
    (b'hello, this is a text\n' * 9, 422, 'this is a text file, not a video'),
    ('ünlesbar\n'.encode() * 999, 422, 'a text file'), (os.urandom(5000), 422, 'not a video of any known format'),
    (b'', 400, 'nothing was sent'), (b'x' * 1_000_001, 413, 'larger than 1 MB')])
def test_what_is_no_video_is_refused_in_plain_words(served, body, status, told):
    found, _, answer = served.ask('/api/predict', body)
    assert found == status and told in answer['error'] and '/tmp' not in answer['error']


@pytest.mark.parametrize('kind', PLAYLISTS)
def test_a_list_of_other_files_is_not_followed(place, tmp_path, kind):
    text = PLAYLISTS[kind].format(video=place / 'a.mp4')
    (tmp_path / 'x').write_text(text)
    with pytest.raises(Refused, match='text file'):
        check_video(tmp_path / 'x')
    (tmp_path / 'x').write_bytes(text.encode() + b'\n#\0\xff\xfe')  # no text any more
    with pytest.raises(Refused, match='not a video'):
        check_video(tmp_path / 'x')


def test_pictures_sound_alone_and_frames_beyond_measure_are_refused(place, tmp_path, monkeypatch):
    Image.new('RGB', (40, 30)).save(tmp_path / 'a.png')
    with pytest.raises(Refused, match='not a video'):
        check_video(tmp_path / 'a.png')
    with av.open(str(tmp_path / 'a.mkv'), 'w') as container:
        sound = container.add_stream('pcm_s16le', rate=8000, layout='mono')
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format='s16', layout='mono')
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
    with pytest.raises(Refused, match='no pictures'):
        check_video(tmp_path / 'a.mkv')
    monkeypatch.setattr(uploads, 'LARGEST_FRAME', 100)
    with pytest.raises(Refused, match='96x64 are too large'):
        check_video(place / 'a.mp4')


def test_a_form_is_told_how_to_send_a_video(served):
    status, _, answer = served.ask('/api/predict', b'--x', {'content-type': 'multipart/form-data; boundary=x'})
    assert status == 415 and '--data-binary' in answer['error']


def test_a_video_that_does_not_say_how_large_it_is_is_cut_off_at_the_limit(served):
    status, _, answer = served.ask('/api/predict', iter([b'x' * 400_000] * 4))  # in chunks
    assert status == 413 and 'larger than 1 MB' in answer['error']


@pytest.mark.parametrize('headers, told', [
    ({'host': 'evil.example'}, 'is no name of this machine'), ({'host': 'evil.example:8000'}, 'is no name'),
    ({'host': '127.0.0.1.evil.example'}, 'is no name'), ({'host': '10.0.0.7:8000'}, 'is no name'),
    ({'host': '\x1b[2J'}, 'is no name'), ({}, 'is no name'), ({'host': '[::1'}, 'is no name'),
    ({'host': '127.0.0.1:8000', 'origin': 'http://evil.example'}, 'page of another site'),
    ({'host': '127.0.0.1:8000', 'origin': 'null'}, 'page of another site'),
    ({'host': '127.0.0.1:8000', 'origin': 'http://127.0.0.1:9999'}, 'page of another site'),
    ({'host': 'localhost:8000', 'sec-fetch-site': 'cross-site'}, 'page of another site'),
    ({'host': 'localhost:8000', 'sec-fetch-site': 'same-site'}, 'page of another site')])
def test_other_sites_are_refused(headers, told):
    assert told in Guard(None).refuses(headers)


@pytest.mark.parametrize('headers', [
    {'host': '127.0.0.1:8000'}, {'host': 'localhost'}, {'host': '[::1]:80'}, {'host': 'LOCALHOST:1'},
    {'host': '127.0.0.1:8000', 'origin': 'http://127.0.0.1:8000', 'sec-fetch-site': 'same-origin'}])
def test_this_machines_own_page_is_let_in(headers):
    assert Guard(None).refuses(headers) == ''


def test_with_the_network_addresses_are_let_in_and_foreign_names_are_not():
    guard = Guard(None, network=True)
    assert guard.refuses({'host': '10.0.0.7:8000'}) == guard.refuses({'host': socket.gethostname()}) == ''
    assert 'is no name' in guard.refuses({'host': 'evil.example'})


def test_the_server_asks_the_guard(served):
    status, headers, answer = served.ask('/api/model', headers={'host': 'evil.example'})
    assert status == 403 and 'no name of this machine' in answer['error'] and 'content-security-policy' in headers
    assert served.ask('/api/predict', b'x', {'origin': 'http://evil.example'})[0] == 403


# ---------------------------------------------------------------- several at once, too slow, gone

def test_two_videos_at_once_are_predicted_one_by_one(place, kept):
    model, found = Slow(0.1), []
    with Server(Predictor(Means, model=model, batch_size=8)) as server:
        threads = [threading.Thread(target=lambda: found.append(
            server.ask('/api/predict', (place / 'a.mp4').read_bytes())[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == [200] * 3 and model.most == 1
        assert [list(folder.iterdir()) for folder in kept.iterdir()] == [[]]  # nothing of them is kept
    assert list(kept.iterdir()) == []


def test_more_than_may_wait_are_sent_away(place, monkeypatch):
    from importlib import import_module
    pytest.importorskip('starlette')
    monkeypatch.setattr(import_module('gluon_action.deploy.serve.app'), 'MOST_WAITING', 0)
    with Server(Predictor(Means, model=Slow(0))) as server:
        status, _, answer = server.ask('/api/predict', (place / 'a.mp4').read_bytes())
    assert status == 503 and 'wait already' in answer['error']


def test_a_video_that_takes_too_long_is_given_up(place, kept):
    with Server(Predictor(Means, model=Slow(0.3), batch_size=1), seconds=0.5) as server:
        started = time.monotonic()
        status, _, answer = server.ask('/api/predict', (place / 'a.mp4').read_bytes())
        assert status == 504 and 'longer than 0.5 s (--max-seconds)' in answer['error']
        assert time.monotonic() - started < 30
    assert list(kept.iterdir()) == []


def test_whoever_goes_away_is_not_waited_for(place, kept):
    with Server(Predictor(Means, model=Slow(1.), batch_size=1)) as server:  # 8 s in all
        body = (place / 'a.mp4').read_bytes()
        with socket.create_connection(('127.0.0.1', server.port)) as gone:
            gone.sendall(b'POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n' % len(body)
                         + body)
            for _ in range(500):
                if server.ask('/api/status')[2]['running']:
                    break
                time.sleep(0.01)
        until = time.monotonic() + 5
        while server.ask('/api/status')[2]['running'] and time.monotonic() < until:
            time.sleep(0.02)
        assert server.ask('/api/status')[2]['running'] == 0
        assert [list(folder.iterdir()) for folder in kept.iterdir()] == [[]]


def test_what_arrives_too_slowly_is_given_up_and_leaves_nothing(tmp_path):
    async def slowly():
        yield b'x'
        await asyncio.sleep(60)

    with pytest.raises(Refused, match=r'longer than 0.05 s to arrive') as caught:
        asyncio.run(receive(slowly(), tmp_path, megabytes=1, seconds=0.05))
    assert caught.value.status == 408 and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    async def some():
        yield b'x'

    def full(*given, **options):
        raise OSError(28, 'No space left on device')

    path = asyncio.run(receive(some(), tmp_path, megabytes=1, seconds=9))
    assert path.parent == tmp_path and path.read_bytes() == b'x'
    monkeypatch.setattr(os, 'fdopen', full)
    with pytest.raises(Refused, match='cannot be kept: No space left') as caught:
        asyncio.run(receive(some(), tmp_path, megabytes=1, seconds=9))
    assert caught.value.status == 507 and list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- the command

@pytest.mark.parametrize('host, network, told', [
    ('0.0.0.0', False, 'pass --allow-network'), ('10.1.2.3', False, 'pass --allow-network'),
    ('example.com', False, 'pass --allow-network'), ('127.0.0.1', True, 'other machines do not reach')])
def test_addresses_that_others_reach_must_be_meant(host, network, told):
    with pytest.raises(UsageError, match=told):
        check_address(host, network)


def test_addresses_that_only_this_machine_reaches_need_no_more():
    for host in ('127.0.0.1', 'localhost', '::1', '127.9.9.9'):
        check_address(host, False)
    check_address('0.0.0.0', True)
    with listen('127.0.0.1', 0) as made:
        assert url_of(made) == f'http://127.0.0.1:{made.getsockname()[1]}/'
        with pytest.raises(UsageError, match='pass another --port'):
            listen('127.0.0.1', made.getsockname()[1])
    with pytest.raises(UsageError, match='is no address of this machine'):
        listen('no-such-host.invalid', 0)


@pytest.mark.parametrize('flags, told', [
    (('--max-mb', '0'), '--max-mb must be a number above 0'), (('--max-seconds', 'nan'), '--max-seconds must be'),
    (('--port', '70000'), '--port must be in 0..65535'), (('--threshold', '2'), '--threshold must be a probability')])
def test_numbers_that_cannot_be_are_refused(place, capsys, flags, told):
    with pytest.raises(SystemExit) as stop:
        run(command.parse_args, command.main, [str(place / 'bundle'), *flags])
    assert stop.value.code == 2 and told in capsys.readouterr().err


def test_without_the_packages_the_command_says_what_to_install(place, capsys, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'uvicorn', None)
    assert run(command.parse_args, command.main, [str(place / 'bundle')]) == 2
    assert "pip install 'gluon_action[serve]'" in capsys.readouterr().err


def test_the_command_serves_until_ctrl_c(place, tmp_path, capsys, monkeypatch):
    pytest.importorskip('starlette')
    uvicorn = pytest.importorskip('uvicorn')
    seen = []

    def interrupted(self, sockets):
        seen.append((self.config.app, url_of(sockets[0])))
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, 'run', interrupted)
    argv = [str(place / 'bundle'), '--port', '0', '--json', str(tmp_path / 'o.json')]
    assert run(command.parse_args, command.main, argv) == 0
    assert json.loads((tmp_path / 'o.json').read_text())['url'] == seen[0][1] and seen[0][1] in capsys.readouterr().out
    assert run(command.parse_args, command.main, argv) == 2 and '--overwrite' in capsys.readouterr().err


def test_the_page_is_part_of_the_package():
    page = Path(uploads.__file__).parent / 'page'
    assert sorted(path.name for path in page.iterdir()) == ['index.html', 'page.css', 'page.js']
