"""A server of weight files on this machine that misbehaves as told, and an index of files that lie on it."""
import hashlib
import http.server
import io
import json
import re
import threading
import zipfile


def archive(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return data.getvalue()


class WeightsServer(http.server.ThreadingHTTPServer):
    """Serves `files`, and misbehaves as told.

    ``cuts`` holds how many bytes the next answers send before they end, ``failures`` the status of the next answers.
    ``tags`` and ``types`` are the ETag and the content type of a path, ``moved`` where a path leads; ``requests`` notes
    the Range that each request came with, ``conditions`` the If-Range, ``paths`` what it asked for. The next range
    begins ``shift`` bytes late. ``tells_size``: who asks behind the end of a file is told how long it is; ``careless``:
    If-Range is not heeded. ``commit`` is for Hugging Face's library.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.tags, self.types, self.moved = {}, {}, {}, {}
        self.cuts, self.failures, self.ranges, self.shift = [], [], True, 0
        self.tells_size, self.careless = True, False
        self.requests, self.conditions, self.paths, self.commit = [], [], [], ''
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self):
        return f'http://127.0.0.1:{self.server_address[1]}'

    def publish(self, name, tag, content, member=None):
        """Put a file where GluonCV had it."""
        self.files[f'/gluon/models/{name}-{tag}.zip'] = archive(**{member or f'{name}-{tag}.params': content})

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET, with ranges."""

    def do_GET(self):
        server, start = self.server, 0
        wanted = self.headers.get('Range')
        server.requests.append(wanted)
        server.conditions.append(self.headers.get('If-Range'))
        server.paths.append(self.path)
        path = self.path.split('?')[0]
        if path in server.moved:
            self.send_response(302)
            self.send_header('Location', server.moved[path])
            self.send_header('Content-Length', '0')
            return self.end_headers()
        body, tag = server.files.get(path), server.tags.get(path)
        if server.failures or body is None:
            return self.send_error(server.failures.pop(0) if server.failures else 404)
        if wanted and server.ranges and (self.headers.get('If-Range') in (None, tag) or server.careless):
            start = int(re.fullmatch(r'bytes=(\d+)-', wanted)[1])
            if start >= len(body):
                self.send_response(416)
                if server.tells_size:
                    self.send_header('Content-Range', f'bytes */{len(body)}')
                self.send_header('Content-Length', '0')
                return self.end_headers()
            start, server.shift = start + server.shift, 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
        self.send_header('Content-Length', str(len(body) - start))
        if tag:
            self.send_header('ETag', tag)
        if path in server.types:
            self.send_header('Content-Type', server.types[path])
        self.end_headers()
        self.wfile.write(body[start:][:server.cuts.pop(0) if server.cuts else None])

    def do_HEAD(self):
        path, server = self.path.split('?')[0], self.server
        if path not in server.files:
            return self.send_error(404)
        self.send_response(200)
        self.send_header('Content-Length', str(len(server.files[path])))
        self.send_header('ETag', server.tags[path])
        self.send_header('X-Repo-Commit', server.commit)
        self.end_headers()

    def log_message(self, *args):
        pass


def row_of(model, tag, content, url, *, name=None, format='params', digest='sha256', **more):
    """A row of an index, as JSON has it, of one file with `content`; `digest` is an algorithm or the whole of it."""
    known = {'sha256': hashlib.sha256, 'sha1': hashlib.sha1}.get(digest)
    return {'model': model, 'tag': tag, 'publisher': 'us', 'format': format, 'licence': 'Apache-2.0',
            'files': [{'name': name or url.rsplit('/', 1)[-1], 'urls': [url],
                       'digest': f'{digest}:{known(content).hexdigest()}' if known else digest}], **more}


def write_index(path, rows):
    """Write an index of one's own."""
    path.write_text(json.dumps({'version': 1, 'rows': rows}))
    return path


def index_of_file(folder, model, name, kind='actions'):
    """Write an index whose one row, ``own``, is a file of parameters in `folder`; its path is returned."""
    content = (folder / name).read_bytes()
    return str(write_index(folder / 'index.json', [row_of(model, 'own', content, name, kind=kind)]))
