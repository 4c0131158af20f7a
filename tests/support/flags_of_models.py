"""A row for each option of ``gluon-action models``, see tests/cli/test_flags.py."""
import json
import re
import shutil
from pathlib import Path

from flags_world import NAME, changes, import_row, ran, seen, traceback_row
from weights_server import row_of, write_index

from gluon_action.cli import models
from gluon_action.cli.command import run
from gluon_action.files import file_sha256


def call(*argv):
    return run(models.parse_args, models.main, [str(item) for item in argv], prog='gluon-action models')


def told(world, output, *argv):
    """What an action prints, and its exit code."""
    output.readouterr()
    code = call(*(str(item).format(**world.paths) for item in argv))
    return code, output.readouterr().out


def other_index(world, digest='sha256'):
    """An index of two files of one model beside it, one without a digest."""
    folder = world.new_folder()
    content = world.published[0][0].read_bytes()
    for name in ('sealed', 'open'):
        (folder / f'{name}.params').write_bytes(content)
    return write_index(folder / 'index.json', [
        row_of(NAME, 'sealed', content, 'sealed.params'), row_of('other', 'open', content, 'open.params', digest='')])


def listed(*flags):
    @seen(*flags)
    def row(world, output, *flags):
        before, after = told(world, output, 'list'), told(world, output, 'list', *flags)
        assert before[0] == after[0] == 0 and before != after and NAME in before[1]
    return row


def of_another_index(action, *argv):
    """``--index``: rows that the command knows only then."""
    @seen('--index')
    def row(world, output, *flags):
        index = other_index(world)
        model = () if action == 'list' else (NAME,)
        tag = ('--tag', 'sealed') if action == 'download' else ()
        root = () if action == 'list' else ('--root', index.parent / 'root')
        if action in ('verify', 'purge'):
            assert call('download', NAME, '--tag', 'sealed', '--index', index, *root) == 0
        before = told(world, output, action, *model, *tag, *root, *argv)
        after = told(world, output, action, *model, *tag, *root, *argv, *flags, index)
        assert after[0] == 0 and 'sealed' in after[1] and 'sealed' not in before[1]
    return row


def under_another_root(action, expected, *argv, exit_code=0):
    """``--root``: another folder of weights, which has nothing."""
    @seen('--root')
    def row(world, output, *flags):
        code, text = told(world, output, action, NAME, *argv, *flags, world.new_folder())
        assert (code, expected in text) == (exit_code, True)
    return row


@seen('other')
def another_model_is_told(world, output, *flags):
    index = other_index(world)
    texts = [told(world, output, 'info', model, '--index', index)[1] for model in (NAME, *flags)]
    assert 'sealed' in texts[0] and 'open.params' in texts[1]
    assert call('info', 'oter', '--index', index) == 2 and 'did you mean other?' in output.readouterr().err


@seen('other')
def another_model_is_fetched(world, output, *flags):
    index = other_index(world)
    root = world.new_folder()
    assert call('download', *flags, '--index', index, '--root', root, '--trust-first-use') == 0
    assert (root / 'open.params').is_file() and not (root / 'sealed.params').exists()


@seen('--tag', '{tag}')
def the_tagged_set_is_fetched(world, output, *flags):
    assert told(world, output, 'download', NAME, *flags)[1].strip().endswith(f'{world.paths["tag"]}.params')
    assert not told(world, output, 'download', NAME)[1].strip().endswith(f'{world.paths["tag"]}.params')


@seen('--trust-first-use')
def what_has_no_digest_is_fetched_when_trusted(world, output, *flags):
    index = other_index(world)
    argv = ('download', 'other', '--index', index, '--root', index.parent / 'root')
    assert call(*argv) == 1 and '--trust-first-use' in output.readouterr().err
    assert call(*argv, *flags) == 0


def with_a_copy(world):
    root = world.new_folder()
    for path, sha1 in world.published:
        shutil.copy(path, root / f'{NAME}-{sha1[:8]}.params')
    return root


@seen(NAME)
def only_its_files_are_hashed(world, output, *flags):
    index = other_index(world)
    root = with_a_copy(world)
    assert call('download', 'other', '--index', index, '--root', root, '--trust-first-use') == 0
    argv = ('verify', '--root', root, '--index', index)
    assert 'open.params: verified' in told(world, output, *argv)[1]
    assert 'open.params' not in told(world, output, *argv, *flags)[1]


@seen(NAME)
def only_its_files_are_removed(world, output, *flags):
    index = other_index(world)
    root = world.new_folder()
    for model in ('other', NAME):
        assert call('download', model, '--index', index, '--root', root, '--trust-first-use') == 0
    assert call('purge', *flags, '--yes', '--root', root, '--index', index) == 0
    assert sorted(path.name for path in root.glob('*.params')) == ['open.params']


@seen('--yes')
def nothing_is_removed_unasked(world, output, *flags):
    root = with_a_copy(world)
    assert call('purge', NAME, '--root', root) == 2 and 'pass --yes' in output.readouterr().err
    assert len(list(root.glob('*.params'))) == 2
    assert call('purge', NAME, '--root', root, *flags) == 0 and not list(root.glob('*.params'))


@seen('--forget')
def what_was_noted_is_forgotten_when_asked(world, output, *flags):
    root = world.new_folder()
    index = other_index(world)
    argv = ('purge', 'other', '--yes', '--root', root, '--index', index)
    assert call('download', 'other', '--index', index, '--root', root, '--trust-first-use') == call(*argv) == 0
    assert 'open.params' in (root / 'verified.json').read_text()
    assert call(*argv, *flags) == 0 and 'open.params' not in (root / 'verified.json').read_text()


def mirrored(world, output, *flags):
    """Names of the files of a mirror of a small index, and what was printed."""
    index = other_index(world)
    folder = world.new_folder()
    code, text = told(world, output, 'mirror', folder, '--index', index, *flags)
    names = sorted(path.name for path in folder.glob('*.params'))
    assert code == (0 if names else 1)
    return names, text, folder


@seen('folder')
def the_mirror_is_where_told(world, output, *flags):
    names, text, folder = mirrored(world, output, '--pattern', 'tiny*')
    assert names == ['sealed.params'] and f'GLUON_ACTION_REPO={folder}' in text


@seen('--pattern', 'other')
def models_of_the_pattern_are_mirrored(world, output, *flags):
    assert mirrored(world, output, *flags, '--trust-first-use')[0] == ['open.params']


@seen('--trust-first-use')
def what_has_no_digest_is_mirrored_when_trusted(world, output, *flags):
    assert mirrored(world, output, '--pattern', 'other')[0] == []
    assert mirrored(world, output, '--pattern', 'other', *flags)[0] == ['open.params']


@seen('--index')
def rows_of_another_index_are_mirrored(world, output, *flags):
    folder = world.new_folder()
    assert told(world, output, 'mirror', folder, '--pattern', 'other')[0] == 2
    told(world, output, 'mirror', folder, '--pattern', 'other', '--trust-first-use', *flags, other_index(world))
    assert (folder / 'open.params').is_file()


def published(world, *flags):
    """The row that ``publish`` writes of a run."""
    out = world.new_folder()
    assert call('publish', ran(world), '--out', out, *(str(flag).format(**world.paths) for flag in flags)) == 0
    row, = json.loads((out / 'index.json').read_text())['rows']
    return row


def field(name):
    return lambda world, *flags: published(world, *flags)[name]


def percent(world, *flags):
    folder = world.folder / 'a_report'
    folder.mkdir(exist_ok=True)
    tested = {'sha256': file_sha256(Path(ran(world)) / 'best.params')}
    (folder / 'results.json').write_text(json.dumps({'top1': 0.125, 'top5': 0.5, 'protocol': {
        'model': NAME, 'weights': tested, 'views': '25x10', 'average': 'scores'}}))
    row = published(world, *flags)
    return row['top1'], row['protocol'], row.get('average')


@seen('run')
def the_named_run_is_published(world, output, *flags):
    assert published(world)['model'] == NAME
    assert call('publish', world.new_folder(), '--out', world.new_folder()) == 2
    assert 'has no config.json of a run' in output.readouterr().err


@seen('--out')
def it_is_published_where_told(world, output, *flags):
    out = world.new_folder()
    assert call('publish', ran(world), *flags, out) == 0
    assert sorted(path.suffix for path in out.iterdir()) == ['.json', '.json', '.md', '.params']


@seen('--overwrite')
def other_weights_of_a_tag_are_kept_unless_asked(world, output, *flags):
    out = world.new_folder()
    assert call('publish', ran(world), '--out', out, '--tag', 'x') == 0
    before = (out / 'index.json').read_text()
    (out / 'index.json').write_text(re.sub('sha256:[0-9a-f]{64}', 'sha256:' + '0' * 64, before))
    assert call('publish', ran(world), '--out', out, '--tag', 'x') == 2
    assert 'pass --overwrite' in output.readouterr().err
    assert call('publish', ran(world), '--out', out, '--tag', 'x', *flags) == 0
    assert (out / 'index.json').read_text() == before


MODELS_ROWS = {
    '--debug': traceback_row(lambda world: [models, 'info', 'no_such_model']),
    'list pattern': listed('tiny*'),
    'list --index': of_another_index('list'),
    'info model': another_model_is_told,
    'info --index': of_another_index('info'),
    'info --root': under_another_root('info', 'not in the cache'),
    'download model': another_model_is_fetched,
    'download --tag': the_tagged_set_is_fetched,
    'download --index': of_another_index('download'),
    'download --root': under_another_root('download', '', exit_code=1),
    'download --trust-first-use': what_has_no_digest_is_fetched_when_trusted,
    'verify model': only_its_files_are_hashed,
    'verify --index': of_another_index('verify'),
    'verify --root': under_another_root('verify', ': 0 files'),
    'purge model': only_its_files_are_removed,
    'purge --forget': what_was_noted_is_forgotten_when_asked,
    'purge --yes': nothing_is_removed_unasked,
    'purge --index': of_another_index('purge', '--yes'),
    'purge --root': under_another_root('purge', 'has nothing of that', '--yes'),
    'mirror folder': the_mirror_is_where_told,
    'mirror --pattern': models_of_the_pattern_are_mirrored,
    'mirror --index': rows_of_another_index_are_mirrored,
    'mirror --trust-first-use': what_has_no_digest_is_mirrored_when_trusted,
    'publish run': the_named_run_is_published,
    'publish --out': it_is_published_where_told,
    'publish --tag': changes(field('tag'), '--tag', 'mine', to='mine'),
    'publish --licence': changes(field('licence'), '--licence', 'MIT', to='MIT'),
    'publish --publisher': changes(field('publisher'), '--publisher', 'us', to='us'),
    'publish --report': changes(percent, '--report', '{tmp}/a_report', to=(12.5, '25x10', 'scores')),
    'publish --import': import_row(lambda world: [models, 'publish', '/nowhere', '--out', '/nowhere']),
    'publish --overwrite': other_weights_of_a_tag_are_kept_unless_asked,
}
