"""The index of weights: what is in the package's, and what is wrong with others."""
import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from weights_server import WeightsServer, row_of, write_index

from gluon_action.errors import WeightsError
from gluon_action.weights import read_index
from gluon_action.weights.index import BUNDLED, FORMATS

INDEX = read_index()
GOOD = row_of('resnet50_v1b_kinetics400', 'mine', b'content', 'https://example.org/mine.pth', format='timm-resnet',
              top1=70., protocol='25x10', input={'mean': [.5] * 3, 'std': [.5] * 3, 'clip_length': 8})


@pytest.fixture(autouse=True)
def no_index(monkeypatch, tmp_path):
    for name in ('GLUON_ACTION_INDEX', 'GLUON_ACTION_OFFLINE', 'GLUON_ACTION_REPO'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('MXNET_HOME', str(tmp_path / 'home'))


def without(name, inside=None):
    row = copy.deepcopy(GOOD)
    del (row[inside][0] if inside else row)[name]
    return row


def changed(**fields):
    return {**copy.deepcopy(GOOD), **fields}


def of_file(**fields):
    return changed(files=[{**GOOD['files'][0], **fields}])


def read(tmp_path, *rows):
    return read_index(write_index(tmp_path / 'index.json', rows))


# The package's own

def test_every_set_of_weights_is_told_apart_and_has_a_place():
    assert len(INDEX.rows) > 120
    for row in INDEX.rows:
        assert row.format in FORMATS and row.licence and row.publisher and row.files
        for file in row.files:
            schemes = {url.split('://')[0] for url in file.urls}
            assert schemes <= {'https', 'hf', 'mxnet', 'package'}, row
            assert (schemes == {'mxnet'}) == (row.publisher == 'GluonCV')


def test_digits_in_the_name_of_a_file_are_those_of_its_digest():
    for row in INDEX.rows:
        for file in row.files:
            stem = file.name.rsplit('.', 1)[0]
            if '-' in stem and len(stem.rsplit('-', 1)[1]) == 8 and file.algorithm in ('sha256', 'sha1'):
                assert file.digits.startswith(stem.rsplit('-', 1)[1]), file.name


def test_the_best_row_of_a_model_comes_first():
    """What can be verified, what all may use, the higher score; the bucket of the retired project last."""
    for model in INDEX.models():
        rows = INDEX.rows_of(model)
        if rows[0].kind == 'base':
            ported = [row.tag.startswith('gluoncv-port') for row in rows]
            assert ported == sorted(ported, reverse=True) and all(
                row.publisher != 'GluonCV' for row in rows[:-1])
            continue
        order = [(not row.head, row.publisher == 'GluonCV', not row.trusted, not row.commercial,
                  -(row.top1 or 0)) for row in rows]
        assert order == sorted(order), model


def test_what_is_not_verified_says_so():
    for row in INDEX.rows:
        if not row.trusted:
            assert 'no hash' in row.note, row
        for file in row.files:
            assert any('@' in url.split('//')[1] or not url.startswith('hf') for url in file.urls)


def test_a_licence_that_forbids_commerce_is_known():
    assert {row.licence for row in INDEX.rows if not row.commercial} == {'CC-BY-NC-4.0'}
    assert all(row.commercial for row in INDEX.rows_of('timesformer_jointst_8x32_kinetics400'))


def test_all_of_gluoncvs_files_and_bases_are_there():
    theirs = [row for row in INDEX.rows if row.publisher == 'GluonCV']
    assert [sum(row.kind == kind for row in theirs) for kind in ('actions', 'base')] == [37, 10]


def test_deepminds_two_files_have_gits_hashes_and_their_sizes():
    data, index = INDEX.row('i3d_rgb_kinetics400', 'deepmind-imagenet').files
    assert (data.bytes, data.digest) == (50_818_176, 'git-blob:2958652e0c9c48a65010c0ebda5c9cfd4edc7c18')
    assert index.name == data.name.replace('data-00000-of-00001', 'index') and index.whole


def test_preparation_is_of_values_from_0_to_1():
    row = INDEX.row('c3d_ucf101', 'mmaction2')
    assert [round(255 * mean, 6) for mean in row.input['mean']] == [104, 117, 128]
    assert [round(255 * std, 6) for std in row.input['std']] == [1, 1, 1]
    assert row.classes == {'34': 'Hammering', '35': 'HammerThrow', '46': 'JumpingJack', '47': 'JumpRope'}
    for row in INDEX.rows:
        assert all(0 <= value <= 1 for name in ('mean', 'std') for value in row.input.get(name, ())), row


# By name

def test_a_row_is_found_by_tag_or_digits():
    tagged = INDEX.row('resnet50_v1b_kinetics400', 'MMAction2-8seg')
    for digits in ('2692d16c', '2692D16C712E', tagged.files[0].digits):
        assert INDEX.row('resnet50_v1b_kinetics400', digits) == tagged
    assert INDEX.row('resnet50_v1b_kinetics400', 'cd10898e99').tag == 'mmaction2-3seg'
    assert INDEX.rows_of('no_such_model') == []


@pytest.mark.parametrize('tag, told', [
    ('mmaction2-8segs', r'did you mean mmaction2-8seg\?'), ('2692d16d', 'published: mma'),
    ('cc75', 'published: .*cc757e5c')])
def test_an_unknown_tag_is_told_with_the_closest(tag, told):
    with pytest.raises(WeightsError, match=f"resnet50_v1b_kinetics400 has no weights '{tag}'; .*{told}"):
        INDEX.row('resnet50_v1b_kinetics400', tag)


# An index of one's own

def test_rows_of_an_index_of_ones_own_come_first_and_replace_those_of_their_tag(tmp_path, monkeypatch):
    other = row_of('resnet50_v1b_kinetics400', 'mmaction2-8seg', b'x', 'https://here/x.pth', format='timm-resnet')
    path = write_index(tmp_path / 'index.json', [GOOD, other])
    tags = [row.tag for row in INDEX.rows_of('resnet50_v1b_kinetics400')]
    assert [row.tag for row in read_index(path).rows_of('resnet50_v1b_kinetics400')] == [
        'mine', 'mmaction2-8seg', *tags[1:]]
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(path))
    assert read_index().row('resnet50_v1b_kinetics400', 'mmaction2-8seg').files[0].urls == ('https://here/x.pth',)


def test_an_index_may_lie_at_an_address_with_its_files_beside_it(tmp_path):
    server = WeightsServer()
    try:
        row = row_of('x', 'mine', b'content', 'files/mine.pth', name='mine.pth')
        server.files['/zoo/index.json'] = json.dumps({'version': 1, 'rows': [row]}).encode()
        got = read_index(f'{server.address}/zoo/index.json').rows_of('x')[0].files[0]
        assert got.urls == (f'{server.address}/zoo/files/mine.pth',)
        with pytest.raises(WeightsError, match='the index .*/none.json cannot be read: HTTP 404'):
            read_index(f'{server.address}/none.json')
        server.files['/page'], server.types['/page'] = b'<html>', 'text/html'
        with pytest.raises(WeightsError, match='/page cannot be read: a web page'):
            read_index(f'{server.address}/page')
        server.files['/big'] = b' ' * ((16 << 20) + 1)
        with pytest.raises(WeightsError, match='/big cannot be read: it has more than 16,777,216 bytes'):
            read_index(f'{server.address}/big')
    finally:
        server.close()
    got = read(tmp_path, row).rows_of('x')[0].files[0]
    assert got.urls == ((tmp_path / 'files' / 'mine.pth').as_uri(),)


def test_an_index_whose_address_does_not_answer_is_as_it_was_last(monkeypatch, caplog):
    server = WeightsServer()
    place = f'{server.address}/index.json'
    monkeypatch.setenv('GLUON_ACTION_INDEX', place)
    try:
        monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
        with pytest.raises(WeightsError, match='OFFLINE is set, and no copy of it was kept; save it to a file where'):
            read_index()
        monkeypatch.delenv('GLUON_ACTION_OFFLINE')
        for tag in ('old', 'new'):
            server.files['/index.json'] = json.dumps({'version': 1, 'rows': [row_of('x', tag, b'', 'x.pth')]}).encode()
            read_index()
        server.files['/index.json'] = b'{"version": 1'
        with pytest.raises(WeightsError, match='no JSON'):  # it answers: what is wrong with it is told
            read_index()
        monkeypatch.setenv('GLUON_ACTION_OFFLINE', '1')
        for _ in range(2):
            row, = read_index().rows_of('x')
            assert (row.tag, row.files[0].urls) == ('new', (f'{server.address}/x.pth',))
    finally:
        server.close()
    assert [text.split(';')[0] for text in caplog.messages] == [
        f'the index {place} cannot be read: GLUON_ACTION_OFFLINE is set']
    monkeypatch.delenv('GLUON_ACTION_OFFLINE')
    assert read_index().rows_of('x') == [row] and 'no connection' in caplog.messages[-1]


def test_an_index_at_an_address_needs_no_folder_to_keep_it_in(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('MXNET_HOME', str(tmp_path / 'file'))
    server = WeightsServer()
    server.files['/index.json'] = b'{"version": 1, "rows": []}'
    try:
        assert read_index(f'{server.address}/index.json').rows == INDEX.rows
    finally:
        server.close()


@pytest.mark.parametrize('text, message', [
    ('', 'no JSON'), ('{"version": 1, "rows": [}', 'no JSON'), ('[]', 'of version 1'), ('{"rows": []}', 'of version 1'),
    ('{"version": 2, "rows": []}', 'of version 1, the only one that .* knows, but of version 2'),
    ('{"version": 1, "rows": {}}', 'of version 1')])
def test_what_is_no_index_is_refused(tmp_path, text, message):
    (tmp_path / 'index.json').write_text(text)
    with pytest.raises(WeightsError, match=f'index.json: is not an index of weights.*{message}'):
        read_index(tmp_path / 'index.json')


def test_an_index_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(WeightsError, match='none.json cannot be read: No such file.*GLUON_ACTION_INDEX and --index'):
        read_index(tmp_path / 'none.json')
    (tmp_path / 'binary').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(WeightsError, match='binary: is not an index of weights: no text'):
        read_index(tmp_path / 'binary')


@pytest.mark.parametrize('row, message', [
    (7, ': an object with fields is wanted, got 7'),
    (without('licence'), r'\(resnet50_v1b_kinetics400 mine\): licence: is missing'),
    (without('tag'), r'\(resnet50_v1b_kinetics400\): tag: is missing'),
    (without('urls', 'files'), 'files: urls: is missing'),
    (changed(licence=' '), "licence: the name of a licence is wanted, got ' '"),
    (changed(licenses='MIT'), r'licenses: there is no such field; did you mean licence\?'),
    (changed(format='torchvision-resnet'), "format: one of params, .*, got 'torchvision-resnet'"),
    (changed(kind='head'), "kind: one of actions, base is wanted, got 'head'"),
    (changed(channels='gbr'), 'channels: one of rgb, bgr'), (changed(average='mean'), "average: one of probabilities"),
    (changed(top1='70'), "top1: a number in 0..100 is wanted, got '70'"), (changed(top5=700), 'top5: a number in 0'),
    (changed(head=1), 'head: true or false'), (changed(segments=0), 'segments: a whole number from 1'),
    (changed(segments=True), 'segments: a whole number from 1'), (changed(tag='my tag'), 'tag: a word is wanted'),
    (changed(classes={'a': 'Hammering'}), 'classes: an object of names by index'),
    (changed(kind='base', classes={'1': 'x'}), 'classes: an ImageNet network has no'),
    (changed(files=[]), 'files: a list of files'), (changed(files=GOOD['files'][0]), 'files: a list of files'),
    (changed(files=[GOOD['files'][0]] * 2), 'files: two have one name'),
    (changed(input={'mean': [.5] * 3}), r'input: mean and std: both are wanted, .* got .*0.5.* and None'),
    (changed(input={'mean': [.5] * 3, 'std': [.5]}), 'input: mean and std: both are wanted'),
    (changed(input={'mean': [.5], 'std': [0]}), 'input: std: a list of numbers above 0'),
    (changed(input={'mean': [], 'std': []}), 'input: mean: a list of numbers'),
    (changed(input={'clip_length': '8'}), 'input: clip_length: a whole number from 1'),
    (changed(input={'cliplength': 8}), r'input: cliplength: there is no such field; did you mean clip_length\?'),
    (of_file(digest='sha256:1234567'), r"files: digest: algorithm:digits, all digits \(sha256 64, .*got 'sha256:12345"),
    (of_file(digest='sha256:' + 'a' * 50), 'files: digest: .* or the first 8 to 16'),
    (of_file(digest='sha256:' + 'a' * 17), 'files: digest'), (of_file(digest='sha256:1234567g'), 'files: digest'),
    (of_file(digest='sha256:ABCDEF12'), "files: digest: small letters are wanted, got capitals: 'sha256:ABC"),
    (of_file(digest='sha256:' + 'a' * 65), 'files: digest'), (of_file(digest='sha1:' + 'a' * 41), 'files: digest'),
    (of_file(digest='md5:12345678'), 'files: digest'), (of_file(digest='ABCDEF12'), 'files: digest'),
    (of_file(digest=None), 'files: digest'), (of_file(bytes=0), 'files: bytes'), (of_file(bytes=1.5), 'files: bytes'),
    (of_file(name='../mine.pth'), "files: name: the name of a file, without a folder is wanted"),
    (of_file(name='.hidden'), 'files: name'), (of_file(name='verified.json'), 'files: name'),
    (of_file(urls=[]), 'files: urls: a list of addresses'), (of_file(urls='https://x/y'), 'files: urls: a list'),
    (of_file(urls=['ftp://x/y']), 'files: urls: an address is https'),
    (of_file(urls=['hf://owner/name/file']), 'files: urls: hf://owner/repository@commit/path is wanted'),
    (of_file(urls=['mxnet://a/b.zip']), 'files: urls: mxnet://NAME.zip is wanted')])
def test_a_row_that_is_not_valid_is_named_with_its_field(tmp_path, row, message):
    fine = row_of('x', 'fine', b'', 'https://x/fine.pth')
    with pytest.raises(WeightsError, match=f'index.json: row 2.*{message}'):
        read(tmp_path, fine, row)


def test_a_tag_or_a_file_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r'row 3 \(.* mine\): tag: row 1 of this model has it too'):
        read(tmp_path, GOOD, changed(tag='b', files=[{**GOOD['files'][0], 'name': 'b'}]),
             changed(files=[{**GOOD['files'][0], 'name': 'c'}]))
    with pytest.raises(WeightsError, match=r'row 2 \(.* b\): files: mine.pth is a file of row 1 too'):
        read(tmp_path, GOOD, changed(tag='b'))
    taken = INDEX.row('resnet50_v1b_kinetics400', 'mmaction2-8seg').files[0].name
    with pytest.raises(WeightsError, match="mine: files: .*2692d16c.pth is the name of another file in the package's"):
        read(tmp_path, of_file(name=taken))


def test_the_first_8_to_16_digits_of_a_digest_are_enough(tmp_path):
    for digits in ('a' * 8, 'a' * 16, 'a' * 64):
        assert read(tmp_path, of_file(digest=f'sha256:{digits}')).rows[0].files[0].digits == digits


# Speed

def test_the_index_is_read_without_mxnet_and_numpy():
    code = ('import sys; from gluon_action.weights import read_index; read_index(); '
            'print([name for name in ("mxnet", "numpy", "huggingface_hub", "tqdm") if name in sys.modules])')
    answer = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2])
    assert answer.stdout.strip() == '[]', answer.stderr


def test_the_file_is_one_row_a_line():
    lines = BUNDLED.read_text().splitlines()
    assert len(lines) == len(INDEX.rows) + 3 and all(json.loads(line.rstrip(',')) for line in lines[2:-1])
