"""What shows each flag of check-data."""
import shutil

from flags_world import changes, import_row, seen, traceback_row
from videos import write_frames, write_guessed, write_video

from gluon_action.cli import check_data
from gluon_action.cli.command import run
from gluon_action.evaluate.data_check import check as checking


def prepared(world):
    """Folders of videos, one of which is damaged, and lists of them."""
    if 'checked' not in world.made:
        world.made['checked'] = folder = world.folder / 'checked'
        (folder / 'good' / 'rest').mkdir(parents=True)
        (folder / 'good' / 'wave').mkdir()
        for number in range(3):
            write_video(folder / 'good' / 'rest' / f'{number}.mp4', 12 + 19 * number, size=(64, 48))
            write_video(folder / 'good' / 'wave' / f'{number}.mp4', 20 + 21 * number, size=(64, 48))
        shutil.copytree(folder / 'good', folder / 'other')
        (folder / 'broken').mkdir()
        write_guessed(folder / 'broken' / 'a.wmv')
        write_frames(folder / 'frames' / 'c' / 'v', range(1, 13), pattern='f_%d.png', size=(64, 48))
        (folder / 'list.csv').write_text('path,label\nrest/0.mp4,0\nnowhere.mp4,1\nwave/0.mp4,1\n')
        (folder / 'names.txt').write_text('one\ntwo\nthree\n')
        (folder / 'wide.csv').write_bytes('path,label\nrest/0.mp4,0\n'.encode('utf-16-le'))
        (folder / 'several.csv').write_text('path,label\nrest/0.mp4,0 1\n')
        (folder / 'first.csv').write_text('rest/0.mp4 0\n')
        (folder / 'base.txt').write_text('rest/0.mp4 1\nwave/0.mp4 2\n')
        (folder / 'counted.txt').write_text('rest/0.mp4 12 0\nwave/0.mp4 20 1\n')
        world.paths.update({f'checked_{name}': str(folder / name) for name in ('good', 'other', 'broken', 'frames')},
                           **{f'list_{path.stem}': str(path) for path in folder.iterdir() if path.is_file()})
    return world.made['checked']


def called(world, *argv):
    prepared(world)
    return run(check_data.parse_args, check_data.main, [str(item).format(**world.paths) for item in (*argv, '-j', '0')])


def said(world, output, *argv):
    output.readouterr()
    code = called(world, *argv)
    return code, output.readouterr()


def checked(world, *flags, of=('{checked_good}',)):
    """The `DataCheck` of a call."""
    found, check = [], checking.check_data
    checking.check_data = lambda *args, **options: found.append(check(*args, **options)) or found[-1]
    try:
        assert called(world, *of, *flags) in (0, 1)
    finally:
        checking.check_data = check
    return found[0]


def kinds(of=('{checked_good}',)):
    return lambda world, *flags: {finding.kind for finding in checked(world, *flags, of=of).findings}


def first_label(of):
    return lambda world, *flags: checked(world, *flags, of=of).parts[0].samples[0].label


@seen('source')
def the_named_videos_are_looked_at(world, output, *flags):
    assert said(world, output, '{checked_good}')[0] == 0
    code, told = said(world, output, '{checked_broken}')
    assert code == 1 and 'error: videos with damaged frames (1)' in told.out
    assert 'there is something to mend' in told.out


@seen('--out')
def page_and_sheet_are_written(world, output, *flags):
    out = world.new_folder() / 'x'
    code, told = said(world, output, '{checked_good}', '--out', out)
    assert code == 0 and (out / 'check.html').stat().st_size > 10_000 and f'written: {out}/check.html' in told.out
    assert 'not looked at again' in said(world, output, '{checked_good}', '--out', out)[1].out


@seen('--fix-list')
def the_list_is_written_without_bad_rows(world, output, *flags):
    target = world.new_folder() / 'good.csv'
    assert called(world, '{list_list}', '--data-dir', '{checked_good}', '--fix-list', target) == 1
    assert target.read_text() == 'path,label\nrest/0.mp4,0\nwave/0.mp4,1\n'


@seen('--overwrite')
def the_fixed_list_is_replaced(world, output, *flags):
    target = world.new_folder() / 'good.csv'
    target.write_text('old')
    given = ('{list_list}', '--data-dir', '{checked_good}', '--fix-list', target)
    code, told = said(world, output, *given)
    assert code == 2 and '--overwrite' in told.err and target.read_text() == 'old'
    assert called(world, *given, *flags) == 1 and target.read_text() != 'old'


@seen('--list-format', 'path_label')
def the_list_has_that_format(world, output, *flags):
    given = ('{list_counted}', '--data-dir', '{checked_good}')
    assert checked(world, of=given).parts[0].samples[0].num_frames == 12
    code, told = said(world, output, *given, *flags)
    assert code == 1 and 'has more columns than `path label`' in told.err


@seen('--list-encoding', 'utf-16-le')
def the_list_is_read_so(world, output, *flags):
    given = ('{list_wide}', '--data-dir', '{checked_good}')
    code, told = said(world, output, *given)
    assert code != 0 and '--list-encoding' in told.err
    assert len(checked(world, *flags, of=given).facts) == 1


@seen('--label-base', '1')
def classes_are_counted_from_there(world, output, *flags):
    given = ('{list_base}', '--data-dir', '{checked_good}')
    code, told = said(world, output, *given)
    assert code == 1 and '--label-base 1' in told.err and first_label(given)(world, *flags) == 0


@seen('--multi-label')
def several_labels_are_read(world, output, *flags):
    given = ('{list_several}', '--data-dir', '{checked_good}')
    code, told = said(world, output, *given)
    assert code != 0 and '--multi-label' in told.err
    assert first_label(given)(world, *flags) == (0, 1)


def strip(world, *flags):
    """The first row of the contact sheet."""
    out = world.new_folder() / 'x'
    return checked(world, '--out', str(out), *flags).strips[0].picture


@seen('--num-data-workers', '2')
def processes_look(world, output, *flags):
    from gluon_action.data.loading import video_tasks
    sizes, pool = [], video_tasks.WorkerPool
    video_tasks.WorkerPool = lambda work, count, **options: (sizes.append(count), pool(work, count, **options))[1]
    try:
        prepared(world)
        for number in ('0', '2'):
            assert run(check_data.parse_args, check_data.main, [world.paths['checked_good'], '-j', number]) == 0
    finally:
        video_tasks.WorkerPool = pool
    assert sizes == [2]


@seen('--decode-timeout', '7')
def a_video_may_take_so_long(world, output, *flags):
    given, tasks = [], checking.for_each_video
    checking.for_each_video = lambda *args, timeout, **options: (given.append(timeout),
                                                                 tasks(*args, timeout=timeout, **options))[1]
    try:
        called(world, '{checked_good}')
        called(world, '{checked_good}', *flags)
    finally:
        checking.for_each_video = tasks
    assert given == [60, 7]


LISTED = ('{list_list}', '--data-dir', '{checked_good}')
BOTH = ('{list_list}', '--val', '{list_first}', '--data-dir', '{checked_broken}')
DATA_CHECK_ROWS = {
    '--debug': traceback_row(lambda world: [check_data, '/nowhere/x.csv']),
    '--import': import_row(lambda world: [check_data, '/nowhere/x.csv']),
    'source': the_named_videos_are_looked_at,
    '--val': changes(kinds(), '--val', '{checked_other}'),
    '--out': page_and_sheet_are_written,
    '--fix-list': the_list_is_written_without_bad_rows,
    '--overwrite': the_fixed_list_is_replaced,
    '--quick': changes(kinds(('{checked_broken}',)), '--quick', to={'near_duplicate'}),
    '--data-dir': changes(lambda world, *flags: sum(known['error'] is not None for known in checked(
        world, *flags, of=LISTED[:1]).facts.values()), '--data-dir', '{checked_good}', to=1),
    '--val-data-dir': changes(lambda world, *flags: len(checked(world, *flags, of=BOTH).facts), '--val-data-dir',
                              '{checked_good}', to=4),
    '--list-format': the_list_has_that_format,
    '--list-encoding': the_list_is_read_so,
    '--label-base': classes_are_counted_from_there,
    '--multi-label': several_labels_are_read,
    '--class-names': changes(kinds(LISTED), '--class-names', '{list_names}'),
    '--name-pattern': changes(kinds(('{checked_frames}',)), '--name-pattern', 'f_%d.png'),
    '--model': changes(kinds(), '--model', 'i3d_resnet50_v1_custom', to={'too_short', 'small'}),
    '--new-length': changes(kinds(), '--new-length', '15', to={'too_short'}),
    '--new-step': changes(kinds(), '--new-step', '3', given=('--new-length', '5'), to={'too_short'}),
    '--input-size': changes(kinds(), '--input-size', '100', to={'small'}),
    '--data-aug': changes(strip, '--data-aug', 'v4'),
    '--new-height': changes(strip, '--new-height', '300', '--new-width', '500'),
    '--new-width': changes(strip, '--new-width', '500', '--new-height', '300'),
    '--flip-prob': changes(strip, '--flip-prob', '1'),
    '--color-jitter': changes(strip, '--color-jitter', '5'),
    '--rand-augment': changes(strip, '--rand-augment', '10'),
    '--random-erasing': changes(strip, '--random-erasing', '1'),
    '--mixup': changes(strip, '--mixup'),
    '--mixup-alpha': changes(strip, '--mixup-alpha', '9', given=('--mixup',)),
    '--cutmix': changes(strip, '--cutmix'),
    '--cutmix-alpha': changes(strip, '--cutmix-alpha', '0.1', given=('--cutmix',)),
    '--num-data-workers': processes_look,
    '--decode-timeout': a_video_may_take_so_long,
}
