"""``gluon-action models``: published weights, and one's own: list, info, download, verify, purge, mirror, publish."""
from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import OutputError, UsageError, WeightsError
from ..files import check_folder_takes_files, output_errors
from ..options import add_options
from ..weights import Index, Row, read_index
from ..weights.choice import fetch_best, row_by_tag
from ..weights.environment import weights_root
from ..weights.fetch import NotFetchedError, UntrustedError, fetch, state_of
from ..weights.options import WeightsOptions
from ..weights.records import RECORDS, Records
from .command import make_parser
from .own_modules import add_import_flag

EXAMPLES = """examples:
  # what is published for Kinetics400, best first
  %(prog)s list '*_kinetics400'
  # where the weights of a model are, under which licence, how frames are prepared for them
  %(prog)s info resnet50_v1b_kinetics400
  # the best that can be had, or a certain set, into the cache
  %(prog)s download resnet50_v1b_kinetics400
  %(prog)s download resnet50_v1b_kinetics400 --tag mmaction2-5seg
  # hash what is in the cache again
  %(prog)s verify
  # a folder for machines without a network, which find it by GLUON_ACTION_REPO
  %(prog)s mirror /mnt/usb/weights
  # file, index and card of your own training
  %(prog)s publish runs/exp1 --out published --tag exp1
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = make_parser('Published weights of the networks, and your own: which there are, fetching, checking, '
                         'mirroring, publishing.', prog='gluon-action models', epilog=EXAMPLES)
    # Each says --debug too, where people put it; unset, it leaves what stands before the action.
    debug = argparse.ArgumentParser(add_help=False)
    debug.add_argument('--debug', action='store_true', default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=text, parents=[debug])

    listing = add('list', 'one line a model: its best weights')
    listing.add_argument('pattern', nargs='?', default='*', help="models, as in '*_kinetics400'")

    info = add('info', 'all that is known of the weights of a model')
    info.add_argument('model', metavar='MODEL', help='model, or ImageNet network')

    download = add('download', 'fetch weights into the cache and verify them')
    download.add_argument('model', metavar='MODEL', help='model, or ImageNet network')
    download.add_argument('--tag', default='', help='which ones; by default the best that can be had')

    verify = add('verify', 'hash what is in the cache again')
    verify.add_argument('model', metavar='MODEL', nargs='?', default='', help='of one model only')

    purge = add('purge', 'remove weights from the cache')
    purge.add_argument('model', metavar='MODEL', nargs='?', default='', help='of one model only')
    purge.add_argument('--forget', action='store_true',
                       help='forget their SHA-256 too, which later downloads are held to otherwise')
    purge.add_argument('--yes', action='store_true', help='do not ask')

    mirror = add('mirror', 'fetch all weights into a folder, for machines without a network')
    mirror.add_argument('folder', metavar='DIR', help='folder; what is there and whole is not fetched again')
    mirror.add_argument('--pattern', default='*', help="models, as in '*_kinetics400'")

    publish = add('publish', 'make file, index and card of a training run of your own')
    publish.add_argument('run', metavar='RUN_DIR', help='folder of the run, as --save-dir named it')
    publish.add_argument('--out', required=True, metavar='DIR', help='folder to write to')
    publish.add_argument('--tag', default='', help='name of the weights; by default the name of the run')
    publish.add_argument('--licence', default='not stated', help='licence that you give them, as SPDX names it')
    publish.add_argument('--publisher', default='not stated', help='whose they are')
    publish.add_argument('--report', default=None, metavar='DIR',
                         help='folder of the report of a test of its best.params, whose accuracy and protocol are '
                              'published')
    publish.add_argument('--overwrite', action='store_true',
                         help='replace other weights of this tag, or what is said of them')
    add_import_flag(publish)

    for command in (download, mirror):
        add_options(command, WeightsOptions, 'weights')
    for command in (listing, info, verify, purge):
        add_options(command, WeightsOptions, 'weights', without=['trust_first_use'])
    for command in (info, download, verify, purge):
        command.add_argument('--root', default=None, metavar='DIR',
                             help='folder of weights; by default $MXNET_HOME/models or ~/.mxnet/models')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> int | None:
    """Do what is asked; the exit code is 1 when weights are wrong or not available."""
    if args.action == 'publish':
        return _publish(args)
    return {'list': _list, 'info': _info, 'download': _download, 'verify': _verify, 'purge': _purge,
            'mirror': _mirror}[args.action](args, read_index(args.weights_index or None))


def _list(args: argparse.Namespace, index: Index) -> None:
    rows = [('model', 'best weights', 'of', 'top-1', 'protocol', 'licence')]
    for model in _models_like(index, args.pattern):
        best = index.rows_of(model)
        row = best[0]
        rows.append((model, row.tag, str(len(best)), '-' if row.top1 is None else f'{row.top1:g}', row.protocol or '-',
                     row.licence))
    widths = [max(map(len, column)) for column in zip(*rows)]
    print('\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows))


def _info(args: argparse.Namespace, index: Index) -> None:
    _check_is_folder(weights_root(args.root))
    for number, row in enumerate(_rows_of(index, args.model)):
        print(('\n' if number else '') + '\n'.join(_about(row, args.root)))


def _about(row: Row, root: str | None) -> list[str]:
    licence = row.licence + ('' if row.commercial else ' (no commercial use)')
    preparation = ', '.join(f'{name} {" ".join(f"{number:g}" for number in value)}' if name in ('mean', 'std') else
                            f'{name.replace("_", " ")} {value}' for name, value in row.input.items())
    facts = {'published': row.score or '-', 'licence': licence,
             'preparation': preparation or "as the model's card says",
             'segments': row.segments and f'{row.segments} in training', 'channels': row.channels.upper(),
             'head': '' if row.head else 'none: for a new one',
             'classes': ', '.join(f'{number} {name}' for number, name in row.classes.items()),
             'options': ', '.join(f'{name}={value}' for name, value in row.options.items()),
             'format': row.format, 'note': row.note}
    lines = [f'{row.model} {row.tag}, by {row.publisher}']
    lines += [f'  {name + ":":<13}{value}' for name, value in facts.items() if value]
    for file in row.files:
        size = f'{file.bytes:,} bytes, ' if file.bytes else ''
        lines.append(f'  {"file:":<13}{file.name} ({size}{file.digest or "no digest is published"}; '
                     f'{_in_cache(state_of(file, root))})')
        lines += [f'  {"":<13}{url}' for url in file.urls]
    return lines


def _in_cache(state: str) -> str:
    return {'verified': 'in the cache, verified', 'not there': 'not in the cache',
            'not verified': 'in the cache, not verified yet', 'in the package': 'in the package'}[state]


def _download(args: argparse.Namespace, index: Index) -> None:
    try:
        rows = [row_by_tag(index, args.model, args.tag)] if args.tag else _rows_of(index, args.model)
    except WeightsError:
        _rows_of(index, args.model)  # of a model that there is not, its name is what is wrong
        raise
    _, paths = fetch_best(rows, args.root, trust_first_use=args.trust_first_use)
    for path in paths:
        print(path)


def _verify(args: argparse.Namespace, index: Index) -> int:
    _check_is_folder(weights_root(args.root))
    wrong = found = 0
    named = set()
    for row in _rows_of(index, args.model) if args.model else index.rows:
        for file in row.files:
            named.add(file.name)
            state = state_of(file, args.root, read=True)
            if state in ('not there', 'in the package'):
                continue
            found += 1
            wrong += state not in ('verified', 'not verified')
            print(f'{file.name}: ' + ('no digest is published, and none was noted at a download' if
                                      state == 'not verified' else state))
    for file in [] if args.model else Records(weights_root(args.root)).files():
        if file.name in named or (state := state_of(file, args.root, read=True)) == 'not there':
            continue
        found += 1
        wrong += state != 'verified'
        print(f'{file.name}: {state} (the index does not name it; by its hash when it was first taken)')
    print(f'{weights_root(args.root)}: {_count(found, "file")} of weights, {wrong} of them wrong')
    return 1 if wrong else 0


def _check_is_folder(folder: Path) -> None:
    """Raise an error where a file stands in the way; a folder that is not there yet has no files."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f'{folder}: {there} is a file and no folder of weights; name another one with --root or '
                         'MXNET_HOME')


def _purge(args: argparse.Namespace, index: Index) -> None:
    folder = weights_root(args.root)
    _check_is_folder(folder)
    names = {file.name for row in (_rows_of(index, args.model) if args.model else index.rows) for file in row.files}
    parts = {part for name in names for part in (f'{name}.part', f'{name}.part.version')} | {
        f'{name.removesuffix(".params")}.zip.part{version}' for name in names for version in ('', '.version')}
    there = [path for path in (folder / name for name in sorted(names | parts)) if path.is_symlink() or path.exists()]
    noted = [name for name in sorted(names) if Records(folder).sha256(name)]
    if not there and not (args.forget and noted):
        print(f'{folder} has nothing of that')
        return
    for path in there:
        print(f'{path} ({path.lstat().st_size:,} bytes'
              + (', a link: the file stays in the cache of huggingface_hub)' if path.is_symlink() else ')'))
    wanted = ' and '.join(filter(None, (there and f'remove {_count(len(there), "file")}', args.forget and noted and
                                        f'forget the SHA-256 of {_count(len(noted), "file")}')))
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError('purge asks before it removes, and there is nobody to ask; pass --yes')
        if input(f'{wanted}? [y/N] ').strip().lower() not in ('y', 'yes'):
            print('nothing was removed')
            return
    total = 0
    for path in there:
        size = path.lstat().st_size
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f'{path}: cannot be removed: {error.strerror or error}') from error
        total += size
    print(f'removed {_count(len(there), "file")}, {total:,} bytes')
    if args.forget:
        with output_errors(folder):
            Records(folder).forget(noted)
        print(f'forgot the SHA-256 of {_count(len(noted), "file")}')
    elif noted:
        print(f'the SHA-256 of {_count(len(noted), "file")} is noted in {folder / RECORDS} still, and later downloads '
              'are held to it; --forget removes that too')


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' + ('' if number == 1 else 's')


def _mirror(args: argparse.Namespace, index: Index) -> int:
    models = set(_models_like(index, args.pattern))
    folder = Path(args.folder).expanduser()
    with output_errors(folder):
        check_folder_takes_files(folder)
    answers: dict[str, list[str]] = {}
    missing, left_out, whole = [], [], 0

    def hear(file, address, cause):
        answers.setdefault(_server_of(address), []).append(cause)
        print(f'{file.name}: {address}: {cause or "fetched"}', flush=True)

    for row in index.rows:
        if row.model not in models:
            continue
        try:
            fetch(row, folder, trust_first_use=args.trust_first_use, own_copy=True, hear=hear)
            whole += 1
        except UntrustedError:
            left_out.append(f'{row.model} {row.tag}')
        except NotFetchedError:
            missing.append(f'{row.model} {row.tag}')
    print(f'\n{folder}: {_sets(whole)} there and verified, {len(missing)} could not be had')
    for server, causes in answers.items():
        failed = [cause for cause in causes if cause]
        gave = len(causes) - len(failed)
        print(f'  {server}: ' + (f'answered {gave} of {_count(len(causes), "time")}' if gave else
                                 f'did not give any of {_count(len(causes), "file")}: {failed[0]}'))
    if left_out:
        print(f'{_sets(len(left_out))} left out without a published digest; --trust-first-use takes what comes: '
              f'{", ".join(left_out)}')
    if missing:
        print(f'missing: {", ".join(missing)}; the same command tries them again')
    if whole:
        print(f'Machines without a network find them by GLUON_ACTION_REPO={folder.absolute()}')
    return 1 if missing or not whole else 0


def _models_like(index: Index, pattern: str) -> list[str]:
    models = fnmatch.filter(index.models(), pattern.lower())
    if not models:
        raise UsageError(f'weights of no model that is named like {pattern!r} are published; gluon-action models '
                         'list names them all, gluon-action list-models all networks')
    return models


def _sets(number: int) -> str:
    return f'{_count(number, "set")} of weights {"is" if number == 1 else "are"}'


def _server_of(address: str) -> str:
    return '/'.join(address.split('/')[:3]) if '://' in address else str(Path(address).parent)


def _publish(args: argparse.Namespace) -> None:
    from ..model_zoo.publish import publish_run
    published = publish_run(args.run, args.out, tag=args.tag, licence=args.licence, publisher=args.publisher,
                            report=args.report, overwrite=args.overwrite)
    print(f'{published.parameters}\n{published.index}\n{published.card}\n'
          f'get_model({published.model!r}, pretrained={published.tag!r}) takes them where '
          f'GLUON_ACTION_INDEX={published.index} is set')


def _rows_of(index: Index, model: str) -> list[Row]:
    rows = index.rows_of(model)
    if not rows:
        import difflib
        close = difflib.get_close_matches(model.lower(), index.models(), n=3)
        raise UsageError(f'no weights of {model} are published'
                         + (f'; did you mean {" or ".join(close)}?' if close else '; gluon-action models list names '
                            'all models that have some'))
    return rows
