"""What shows each flag of prepare-videos."""
import json
import os
import time

import av
from flags_world import changes, seen, traceback_row
from timed_videos import write_timed
from videos import write_guessed, write_video

from gluon_action.cli import prepare_videos
from gluon_action.cli.command import run
from gluon_action.data.fast_copies import copying
from gluon_action.data.fast_copies.proof import Proof


def sources(world):
    """A folder of two videos, one with a sound; lists of one of them; a video that is damaged."""
    if 'copied' not in world.made:
        world.made['copied'] = folder = world.folder / 'copied'
        (folder / 'v').mkdir(parents=True)
        write_timed(folder / 'v' / 'a.mp4', [number / 25 for number in range(26)], sound_seconds=1, size=(128, 96))
        write_video(folder / 'v' / 'b.mp4', 4, size=(64, 48))
        write_guessed(folder / 'damaged.wmv')
        (folder / 'list.txt').write_text('b.mp4 1\n')
        (folder / 'counted.txt').write_text('b.mp4 4 1\n')
        (folder / 'several.txt').write_text('path,label\nb.mp4,0 1\n')
        (folder / 'wide.txt').write_bytes('b.mp4 1\n'.encode('utf-16-le'))
        world.paths.update({f'copied_{name}': str(folder / f'{name}.txt') for name in (
            'list', 'counted', 'several', 'wide')}, copied=str(folder / 'v'), damaged=str(folder / 'damaged.wmv'))
    return world.made['copied']


def called(world, output, *argv):
    """Exit code, what was said, and the folder of the copies."""
    sources(world)
    out = world.new_folder() / 'x'
    output.readouterr()
    code = run(prepare_videos.parse_args, prepare_videos.main,
               [str(item).format(**world.paths, out=out) for item in (*argv, '--out', out, '-j', '0')])
    return code, output.readouterr(), out


def copies(world, *flags):
    """The folder of the copies of both videos."""
    sources(world)
    out = world.new_folder() / 'x'
    assert run(prepare_videos.parse_args, prepare_videos.main,
               [world.paths['copied'], '--out', str(out), '-j', '0', *flags]) == 0
    return out


def about(name):
    def look(world, *flags):
        report = json.loads((world.once(copies, *flags) / 'copies.json').read_text())
        return report['videos'][0][name]
    return look


def keys(world, *flags):
    with av.open(str(world.once(copies, *flags) / 'a.mp4')) as container:
        return sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)


def size(world, *flags):
    return [about(name)(world, *flags) for name in ('width', 'height')]


@seen('sources')
def the_named_videos_are_copied(world, output, *flags):
    code, _, out = called(world, output, '{copied}/b.mp4')
    assert code == 0 and [path.name for path in out.glob('*.mp4')] == ['b.mp4']


@seen('--out')
def copies_lie_there(world, output, *flags):
    code, said, out = called(world, output, '{copied}')
    assert code == 0 and f'report: {out}/copies.json' in said.out and len(list(out.glob('*.mp4'))) == 2


@seen('--on-damage', 'raise')
def damaged_videos_fail(world, output, *flags):
    assert called(world, output, '{damaged}')[0] == 0
    code, said, out = called(world, output, '{damaged}', *flags)
    assert code == 1 and '1 failed' in said.out and not list(out.glob('*.mp4'))


@seen('--keep-unequal')
def what_is_not_proved_is_kept(world, output, *flags):
    real, copying.prove = copying.prove, lambda *_: Proof('late', [])
    try:
        for more in ((), flags):
            code, _, out = called(world, output, '{copied}/b.mp4', *more)
            assert code == 1 and (out / 'b.mp4').exists() == bool(more)
    finally:
        copying.prove = real


@seen('--overwrite')
def copies_of_other_settings_are_replaced(world, output, *flags):
    out = copies(world)
    before = (out / 'a.mp4').read_bytes()
    argv = [world.paths['copied'], '--out', str(out), '-j', '0', '--short-side', '32']
    assert run(prepare_videos.parse_args, prepare_videos.main, argv) == 2
    assert '--overwrite' in output.readouterr().err and (out / 'a.mp4').read_bytes() == before
    assert run(prepare_videos.parse_args, prepare_videos.main, [*argv, *flags]) == 0
    assert (out / 'a.mp4').read_bytes() != before


@seen('--dry-run')
def nothing_is_written(world, output, *flags):
    code, said, out = called(world, output, '{copied}', *flags)
    assert code == 0 and 'nothing was written' in said.out and not out.exists()


@seen('--shard', '2/2')
def a_share_is_copied(world, output, *flags):
    code, _, out = called(world, output, '{copied}', *flags)
    assert code == 0 and [path.name for path in out.glob('*.mp4')] == ['b.mp4']


@seen('--data-dir', '{copied}')
def paths_of_lists_start_there(world, output, *flags):
    assert called(world, output, '{copied_list}')[0] == 1
    code, said, out = called(world, output, '{copied_list}', *flags)
    assert code == 0 and (out / 'list.txt').read_text() == 'b.mp4 1\n' and f'list: {out}/list.txt' in said.out


@seen('--list-format', 'path_label')
def the_list_has_that_format(world, output, *flags):
    given = ('{copied_counted}', '--data-dir', '{copied}')
    assert called(world, output, *given)[0] == 0
    code, said, _ = called(world, output, *given, *flags)
    assert code == 1 and 'has more columns than `path label`' in said.err


@seen('--list-encoding', 'utf-16-le')
def the_list_is_read_so(world, output, *flags):
    given = ('{copied_wide}', '--data-dir', '{copied}')
    code, said, _ = called(world, output, *given)
    assert code == 1 and '--list-encoding' in said.err and called(world, output, *given, *flags)[0] == 0


@seen('--multi-label')
def several_labels_are_read(world, output, *flags):
    given = ('{copied_several}', '--data-dir', '{copied}')
    code, said, _ = called(world, output, *given)
    assert code == 1 and '--multi-label' in said.err and called(world, output, *given, *flags)[0] == 0


@seen('--num-data-workers', '2')
def processes_copy(world, output, *flags):
    from gluon_action.data.loading import video_tasks
    sizes, pool = [], video_tasks.WorkerPool
    video_tasks.WorkerPool = lambda work, count, **more: sizes.append(count) or pool(work, count, **more)
    try:
        copies(world, *flags)
    finally:
        video_tasks.WorkerPool = pool
    assert sizes == [2]


@seen('--timeout', '0.2')
def what_takes_longer_has_failed(world, output, *flags):
    out, prove = world.new_folder() / 'x', copying.prove
    sources(world)
    argv = [os.path.join(world.paths['copied'], 'a.mp4'), '--out', str(out), '-j', '1', *flags]
    copying.prove = lambda *given: time.sleep(5) or prove(*given)  # inherited by the process that copies
    try:
        assert run(prepare_videos.parse_args, prepare_videos.main, argv) == 1
    finally:
        copying.prove = prove
    assert 'not done after 0.2 s' in output.readouterr().out


COPY_ROWS = {
    '--debug': traceback_row(lambda world: [prepare_videos, '{tmp}/nowhere.txt'.format(**world.paths), '--out',
                                            '{tmp}/never'.format(**world.paths)]),
    'sources': the_named_videos_are_copied,
    '--out': copies_lie_there,
    '--short-side': changes(size, '--short-side', '48', to=[64, 48]),
    '--size': changes(size, '--size', '80x64', to=[80, 64]),
    '--key-frames': changes(keys, '--key-frames', '1', to=26),
    '--quality': changes(about('bytes'), '--quality', '40'),
    '--sound': changes(about('sound'), '--sound', 'copy', to='copied'),
    '--on-damage': damaged_videos_fail,
    '--keep-unequal': what_is_not_proved_is_kept,
    '--overwrite': copies_of_other_settings_are_replaced,
    '--dry-run': nothing_is_written,
    '--shard': a_share_is_copied,
    '--data-dir': paths_of_lists_start_there,
    '--list-format': the_list_has_that_format,
    '--list-encoding': the_list_is_read_so,
    '--multi-label': several_labels_are_read,
    '--num-data-workers': processes_copy,
    '--timeout': what_takes_longer_has_failed,
}
