"""What shows each flag of extract-flow and of prepare-something-something."""
import json
import os

import numpy as np
from flags_world import changes, opened_by_decoders, seen, traceback_row
from flows import write_moving_video
from videos import write_frames

from gluon_action.cli import extract_flow, prepare_something_something
from gluon_action.cli.command import run
from gluon_action.data.reading.video_reader import VideoReader

SMALL = ('--method', 'farneback', '--short-side', '48', '-j', '0')


def sources(world):
    """A folder with a video that moves right."""
    if 'sources' not in world.made:
        world.made['sources'] = folder = world.folder / 'sources'
        write_moving_video(folder / 'a.mp4', (2, 0), 6, (64, 48))
        world.paths['sources'] = str(folder)
    return world.made['sources']


def extracted(world, *flags):
    """The folder that an extraction leaves."""
    sources(world)
    out = world.new_folder()
    flags = [flag.format(**world.paths) for flag in flags]
    given = [] if flags and not flags[0].startswith('-') else [world.paths['sources']]
    assert run(extract_flow.parse_args, extract_flow.main, [*given, '--out', str(out), *SMALL, *flags]) == 0
    return out


def files(world, *flags):
    out = world.once(extracted, *flags)
    return sorted(str(path.relative_to(out)) for path in out.rglob('*') if path.is_file())


def about(name):
    return lambda world, *flags: json.loads((world.once(extracted, *flags) / 'a/flow.json').read_text())[name]


def speed(world, *flags):
    with VideoReader(world.once(extracted, *flags) / 'a', modality='flow') as reader:
        return round(float(np.median(reader.read([0])[..., 0]) - 128))


def size(world, *flags):
    return [about(name)(world, *flags) for name in ('width', 'height')]


@seen('sources')
def the_named_videos_are_extracted(world, output, *flags):
    folder = sources(world)
    other = write_moving_video(world.folder / 'other.mp4', num_frames=3, size=(64, 48))
    assert 'a/flow.json' in files(world) and 'other/flow.json' in files(world, str(other), str(folder))


@seen('--out', '{tmp}/flow_here')
def flow_goes_there(world, output, *flags):
    argv = [str(sources(world)), *SMALL, flags[0], flags[1].format(**world.paths)]
    assert run(extract_flow.parse_args, extract_flow.main, argv) == 0
    assert os.listdir(world.folder / 'flow_here') == ['a']


@seen('--data-dir', '{sources}')
def paths_of_lists_start_there(world, output, *flags):
    folder = sources(world)
    setting = folder.parent / 'flow_list.txt'
    setting.write_text('a.mp4 0\n')
    assert 'a/flow.json' in files(world, str(setting), *flags)
    assert run(extract_flow.parse_args, extract_flow.main, [str(setting), '--out', str(world.new_folder())]) == 1


@seen('--list-format', 'multi_label_frames')
def lists_are_read_as_told(world, output, *flags):
    setting = sources(world).parent / 'flow_two.txt'
    setting.write_text('a.mp4 6 1\n')
    given = (str(setting), '--data-dir', '{sources}', '--multi-label')
    assert files(world, *given, *flags)
    refused = [item.format(**world.paths) for item in (*given, '--out', '{tmp}/no')]
    assert run(extract_flow.parse_args, extract_flow.main, refused) == 1
    assert 'pass --list-format multi_label' in output.readouterr().err


@seen('--list-encoding', 'utf-16-le')
def lists_are_decoded_as_told(world, output, *flags):
    setting = sources(world).parent / 'flow_utf16.txt'
    setting.write_bytes('a.mp4 0\n'.encode('utf-16-le'))
    given = (str(setting), '--data-dir', '{sources}')
    assert files(world, *given, *flags)
    refused = [item.format(**world.paths) for item in (*given, '--out', '{tmp}/no')]
    assert run(extract_flow.parse_args, extract_flow.main, refused) == 1
    assert 'pass --list-encoding utf-16-le' in output.readouterr().err


@seen('--multi-label')
def lists_may_give_several_labels(world, output, *flags):
    setting = sources(world).parent / 'flow_several.csv'
    setting.write_text('path,label\na.mp4,1;2\n')
    assert files(world, str(setting), '--data-dir', '{sources}', *flags)


@seen('--name-pattern', '%d.png')
def pictures_of_that_name_are_read(world, output, *flags):
    write_frames(world.folder / 'pictures' / 'v', range(1, 4), pattern='%d.png')
    argv = [str(world.folder / 'pictures'), *SMALL, '--out', str(world.folder / 'flow_of_pictures')]
    assert run(extract_flow.parse_args, extract_flow.main, argv) == 1
    assert run(extract_flow.parse_args, extract_flow.main, [*argv, *flags]) == 0


@seen('--decoder', 'decord')
def that_decoder_reads(world, output, *flags):
    folder = world.new_folder()
    write_moving_video(folder / 'a.mp4', num_frames=3, size=(64, 48))
    for extra, first in (((), 'pyav'), (flags, 'decord')):
        argv = [str(folder), *SMALL, '--out', str(world.new_folder()), *extra]
        with opened_by_decoders() as tried:
            assert run(extract_flow.parse_args, extract_flow.main, argv) == 0
        assert tried[0] == first


@seen('--num-data-workers', '2')
def other_processes_read(world, output, *flags):
    from gluon_action.data.loading import video_tasks
    made = []

    class Counted(video_tasks.WorkerPool):
        def __init__(self, work, num_workers, **options):
            made.append(num_workers)
            super().__init__(work, num_workers, **options)

    folder = world.folder / 'several'
    for name in 'ab':
        write_moving_video(folder / f'{name}.mp4', num_frames=3, size=(64, 48))
    with_pool, video_tasks.WorkerPool = video_tasks.WorkerPool, Counted
    try:
        for extra in ((), flags):
            argv = [str(folder), *SMALL, '--out', str(world.new_folder()), *extra]
            assert run(extract_flow.parse_args, extract_flow.main, argv) == 0
    finally:
        video_tasks.WorkerPool = with_pool
    assert made == [2]


@seen('--timeout', '0.3')
def a_video_that_hangs_is_given_up(world, output, *flags):
    folder = world.new_folder()
    os.mkfifo(folder / 'stuck.mp4')
    argv = [str(folder), '--out', str(world.new_folder()), '--method', 'farneback', '-j', '1', *flags]
    assert run(extract_flow.parse_args, extract_flow.main, argv) == 1
    assert 'not done after 0.3 s' in output.readouterr().out


@seen('--overwrite')
def flow_of_other_settings_is_replaced(world, output, *flags):
    out = world.new_folder()
    argv = [str(sources(world)), *SMALL, '--out', str(out)]
    codes = [run(extract_flow.parse_args, extract_flow.main, [*argv, *extra])
             for extra in ((), ('--bound', '9'), ('--bound', '9', *flags))]
    assert codes == [0, 1, 0] and json.loads((out / 'a/flow.json').read_text())['bound'] == 9


EXTRACT_ROWS = {
    'sources': the_named_videos_are_extracted,
    '--debug': traceback_row(lambda world: [extract_flow, '/nowhere', '--out', '/nowhere']),
    '--out': flow_goes_there,
    '--method': changes(about('method'), '--method', 'tvl1', to='tvl1'),
    '--short-side': changes(size, '--short-side', '24', to=[32, 24]),
    '--bound': changes(speed, '--bound', '4'),
    '--format': changes(files, '--format', 'npz', to=['a/flow.json', 'a/flow.npz']),
    '--stride': changes(about('num_flows'), '--stride', '2', to=2),
    '--max-frames': changes(about('num_flows'), '--max-frames', '3', to=2),
    '--preview': changes(lambda world, *flags: 'a/preview.png' in files(world, *flags), '--preview', to=True),
    '--data-dir': paths_of_lists_start_there,
    '--list-format': lists_are_read_as_told,
    '--list-encoding': lists_are_decoded_as_told,
    '--multi-label': lists_may_give_several_labels,
    '--name-pattern': pictures_of_that_name_are_read,
    '--decoder': that_decoder_reads,
    '--num-data-workers': other_processes_read,
    '--timeout': a_video_that_hangs_is_given_up,
    '--overwrite': flow_of_other_settings_is_replaced,
}


# Something-Something.

def downloaded(world):
    """Folder of the lists; the videos of version 1 are below it. Version 2 has other labels."""
    folder = world.folder / 'something'
    if not folder.exists():
        for part, name in (('train', '1'), ('validation', '2')):
            write_frames(folder / 'videos' / name, range(1, 4), pattern='%05d.jpg')
            (folder / f'{part}.csv').write_text(f'{name};Holding something\n')
            (folder / f'{part}.json').write_text(json.dumps([{'id': name, 'template': 'Holding [something]'}]))
        (folder / 'labels.csv').write_text('Closing something\nHolding something\n')
        (folder / 'labels.json').write_text(json.dumps({'Holding something': '0'}))
        write_frames(folder / 'v2' / '1', range(1, 3), pattern='%06d.jpg')
        write_frames(folder / 'v2' / '2', range(1, 3), pattern='%06d.jpg')
    world.paths['something'] = str(folder)
    return folder


def prepared(world, *flags, code=0):
    folder, out = downloaded(world), world.new_folder()
    argv = ['--version', '1', '--lists', str(folder), '--data-dir', str(folder / 'videos'), '--out', str(out), '-j',
            '0', *(flag.format(**world.paths) for flag in flags)]
    assert run(prepare_something_something.parse_args, prepare_something_something.main, argv) == code
    return out


@seen('--version', '2')
def lists_of_that_version_are_taken(world, output, *flags):
    assert (prepared(world) / 'train_videofolder.txt').read_text() == '1 3 1\n'
    assert (prepared(world, *flags, '--data-dir', '{something}/v2') / 'train_videofolder.txt').read_text() == '1 2 0\n'


@seen('--lists', '/nowhere')
def lists_are_looked_for_there(world, output, *flags):
    prepared(world, *flags, code=2)
    assert '/nowhere: no file is named like' in output.readouterr().err


@seen('--data-dir', '{something}')
def videos_are_looked_for_there(world, output, *flags):
    prepared(world, *flags, code=1)
    assert '2 of them missing or broken' in output.readouterr().out


@seen('--out', '{tmp}/lists_here')
def lists_are_written_there(world, output, *flags):
    prepared(world, *flags)
    assert (world.folder / 'lists_here' / 'val_videofolder.txt').exists()


@seen('--num-data-workers', '1')
def other_processes_open_videos(world, output, *flags):
    from gluon_action.data.loading import video_tasks
    made, pool = [], video_tasks.WorkerPool
    video_tasks.WorkerPool = lambda *given, **options: made.append(given[1]) or pool(*given, **options)
    try:
        prepared(world)
        prepared(world, *flags)
    finally:
        video_tasks.WorkerPool = pool
    assert made == [1]


@seen('--decode-timeout', '0.3')
def opening_may_take_so_long(world, output, *flags):
    folder = downloaded(world) / 'stuck'
    if not folder.exists():
        folder.mkdir()
        for name in '12':
            os.mkfifo(folder / f'{name}.webm')
    prepared(world, '--data-dir', str(folder), '-j', '1', *flags, code=1)
    assert 'not done after 0.3 s' in output.readouterr().out


@seen('--overwrite')
def lists_are_replaced(world, output, *flags):
    out = ('--out', '{tmp}/lists_twice')
    prepared(world, *out)
    prepared(world, *out, code=1)
    prepared(world, *out, *flags)


SOMETHING_ROWS = {
    '--debug': traceback_row(lambda world: [prepare_something_something, '--version', '1', '--lists', '/nowhere',
                                            '--data-dir', '/nowhere', '--out', '/nowhere']),
    '--version': lists_of_that_version_are_taken,
    '--lists': lists_are_looked_for_there,
    '--data-dir': videos_are_looked_for_there,
    '--out': lists_are_written_there,
    '--num-data-workers': other_processes_open_videos,
    '--decode-timeout': opening_may_take_so_long,
    '--overwrite': lists_are_replaced,
}

FLOW_ROWS = {'extract-flow': EXTRACT_ROWS, 'prepare-something-something': SOMETHING_ROWS}
