"""What shows each flag of make-clip-records."""
import json
import os

import numpy as np
from flags_world import changes, opened_by_decoders, seen, traceback_row
from records import records_in
from videos import read_barcode, write_video

from gluon_action.cli import make_clip_records
from gluon_action.cli.command import run
from gluon_action.data.tfrecords.clips import cutting as clip_cutting
from gluon_action.data.tfrecords.examples import parse_example

SMALL = ('--clip-length', '4', '--size', '24x32', '-j', '0')
LISTS = {
    'one': 'video,start,end,labels\na.mp4,0,1.4,x\n',
    'seconds': 'video,start,end,labels\na.mp4,0,2,x\n',
    'two': 'video,start,end,labels\na.mp4,0,1.4,x\nb.mp4,,,y\n',
    'numbers': 'video,start,end,labels\na.mp4,0,1.4,1\n',
    'unlabelled': 'video,start,end,labels\na.mp4,0,1,x\na.mp4,1,2,\n',
    'accents': 'video,labels\na.mp4,é\n',
    'folds': 'video,fold,labels\na.mp4,one,x\nb.mp4,two,y\n',
    'broken': 'video,start,end,labels\na.mp4,0,1.4,x\ngarbage.mp4,,,x\n',
}


def videos_of(world):
    """A folder with two videos of 10 frames a second, and the lists of them."""
    folder = world.folder / 'annotated'
    if not folder.exists():
        folder.mkdir()
        write_video(folder / 'a.mp4', 20, fps=10)
        write_video(folder / 'b.mp4', 8, fps=10)
        (folder / 'garbage.mp4').write_bytes(b'garbage' * 99)
        for name, text in LISTS.items():
            (folder / f'{name}.csv').write_text(text, encoding='utf-8')
    return folder


def call(world, *flags, annotations='one', out=None):
    """Exit code of the command, and where it wrote."""
    out = out or world.new_folder()
    argv = [str(videos_of(world) / f'{annotations}.csv'), '--out', str(out), *SMALL, *flags]
    return run(make_clip_records.parse_args, make_clip_records.main, argv), out


def made(world, annotations, *flags):
    """The folder that the command leaves."""
    code, out = call(world, *flags, annotations=annotations)
    assert code == 0
    return out


def of(annotations, look):
    return lambda world, *flags: look(world.once(made, annotations, *flags))


def clips(out):
    """Numbers that the frames of each clip carry."""
    settings = json.loads((out / 'report.json').read_text())['settings']['cut']
    height, width = settings['height'], settings['width']
    found = []
    for path in sorted(out.rglob('*.tfrecord')):
        for record in records_in(path):
            frames = np.frombuffer(parse_example(record)['feature'][0], np.uint8).reshape(-1, height, width, 3)
            found.append([read_barcode(frame) for frame in frames])
    return found


def pixels(out):
    return np.concatenate([np.frombuffer(parse_example(record)['feature'][0], np.uint8)
                           for path in sorted(out.rglob('*.tfrecord')) for record in records_in(path)])


def files(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob('*.tfrecord'))


def per_label(out):
    return json.loads((out / 'report.json').read_text())['splits']['all']['clips_per_label']


@seen('annotations')
def the_named_list_is_read(world, output, *flags):
    assert len(clips(world.once(made, 'two'))) == len(clips(world.once(made, 'one'))) + 2


@seen('--out', '{tmp}/records_here')
def records_go_there(world, output, *flags):
    argv = [str(videos_of(world) / 'one.csv'), *SMALL, flags[0], flags[1].format(**world.paths)]
    assert run(make_clip_records.parse_args, make_clip_records.main, argv) == 0
    assert (world.folder / 'records_here' / 'report.json').exists()


@seen('--data-dir', '{tmp}/annotated')
def videos_are_looked_for_there(world, output, *flags):
    elsewhere = world.new_folder() / 'list.csv'
    elsewhere.write_text((videos_of(world) / 'one.csv').read_text())
    codes = [run(make_clip_records.parse_args, make_clip_records.main, [
        str(elsewhere), '--out', str(world.new_folder()), *SMALL, *(flag.format(**world.paths) for flag in extra)])
        for extra in ((), flags)]
    assert codes == [1, 0] and 'list.csv line 2' in output.readouterr().out


@seen('--classes', '{tmp}/annotated/classes.txt')
def classes_are_numbered_by_the_file(world, output, *flags):
    (videos_of(world) / 'classes.txt').write_text('y\nx\n')
    assert of('one', per_label)(world, *(flag.format(**world.paths) for flag in flags)) == {'y': 0, 'x': 4}
    assert of('one', per_label)(world) == {'x': 4}


@seen('--allow-no-label')
def rows_without_a_label_are_taken(world, output, *flags):
    assert call(world, annotations='unlabelled')[0] == 1
    assert of('unlabelled', per_label)(world, *flags) == {'x': 3, '(no label)': 3}


@seen('--seed', '1')
def other_videos_are_drawn(world, output, *flags):
    split = ('--val-share', '0.5')
    drawn = [of('two', clips)(world, *split, '--seed', str(seed)) for seed in range(6)]
    assert of('two', clips)(world, *split) == drawn[0] and any(clips != drawn[0] for clips in drawn)


@seen('--decoder', 'decord')
def that_decoder_reads(world, output, *flags):
    for extra, first in (((), 'pyav'), (flags, 'decord')):
        with opened_by_decoders() as tried:
            assert call(world, *extra)[0] == 0
        assert tried[0] == first


@seen('--num-data-workers', '2')
def other_processes_read(world, output, *flags):
    pools = []

    class Counted(clip_cutting.WorkerPool):
        def __init__(self, work, num_workers, **options):
            pools.append(num_workers)
            super().__init__(work, num_workers, **options)

    with_pool, clip_cutting.WorkerPool = clip_cutting.WorkerPool, Counted
    try:
        folders = [call(world, *extra, annotations='two')[1] for extra in ((), flags)]
    finally:
        clip_cutting.WorkerPool = with_pool
    assert pools == [2] and same_files(*folders)


def same_files(*folders):
    found = [{name: (folder / name).read_bytes() for name in files(folder)} for folder in folders]
    return all(each == found[0] for each in found)


@seen('--timeout', '0.5')
def a_video_that_hangs_is_given_up(world, output, *flags):
    folder = videos_of(world)
    os.mkfifo(folder / 'stuck.mp4')
    (folder / 'stuck.csv').write_text('video,labels\nstuck.mp4,x\n')
    assert call(world, '-j', '1', *flags, annotations='stuck')[0] == 1
    assert 'not done after 0.5 s' in output.readouterr().out


@seen('--failure-limit', '0.5')
def more_may_be_missing(world, output, *flags):
    assert [call(world, *extra, annotations='broken')[0] for extra in ((), flags)] == [1, 0]


@seen('--verify')
def what_differs_is_found(world, output, *flags):
    out = made(world, 'one')
    path = out / files(out)[0]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert [call(world, *extra, out=out)[0] for extra in ((), flags, flags)] == [0, 1, 0]
    assert 'is damaged' in output.readouterr().err


@seen('--overwrite')
def records_of_other_settings_are_replaced(world, output, *flags):
    out = made(world, 'one')
    assert [call(world, '--clip-step', '8', *extra, out=out)[0] for extra in ((), flags)] == [1, 0]
    assert [clip[0] for clip in clips(out)] == [0, 8]


RECORDS_ROWS = {
    'annotations': the_named_list_is_read,
    '--debug': traceback_row(lambda world: [make_clip_records, '/nowhere', '--out', '/nowhere']),
    '--out': records_go_there,
    '--data-dir': videos_are_looked_for_there,
    '--unit': changes(of('seconds', clips), '--unit', 'frames', to=[[0, 1, 1, 1]]),
    '--classes': classes_are_numbered_by_the_file,
    '--list-encoding': changes(of('accents', per_label), '--list-encoding', 'cp1252', to={'Ã©': 5}),
    '--label-base': changes(of('numbers', per_label), '--label-base', '1', to={'1': 4}),
    '--allow-no-label': rows_without_a_label_are_taken,
    '--split': changes(of('folds', files), '--split', 'fold', to=[
        'one/00000-of-00001.tfrecord', 'two/00000-of-00001.tfrecord']),
    '--val-share': changes(of('two', files), '--val-share', '0.5', to=[
        'train/00000-of-00001.tfrecord', 'val/00000-of-00001.tfrecord']),
    '--seed': other_videos_are_drawn,
    '--clip-length': changes(of('one', clips), '--clip-length', '7', to=[list(range(7)), list(range(7, 14))]),
    '--frame-stride': changes(of('one', clips), '--frame-stride', '2', to=[[0, 2, 4, 6], [8, 10, 12, 12]]),
    '--clip-step': changes(of('one', clips), '--clip-step', '5', to=[[0, 1, 2, 3], [5, 6, 7, 8], [10, 11, 12, 13]]),
    '--drop-short': changes(of('one', lambda out: len(clips(out))), '--drop-short', to=3),
    '--crop': changes(of('one', pixels), '--crop', '0,0,48,48'),
    '--size': changes(of('one', lambda out: len(pixels(out))), '--size', '16', to=4 * 4 * 16 * 16 * 3),
    '--clips-per-file': changes(of('one', files), '--clips-per-file', '3', to=[
        '00000-of-00002.tfrecord', '00001-of-00002.tfrecord']),
    '--file-names': changes(of('one', files), '--file-names', 'plain', to=['0000000.tfrecord']),
    '--decoder': that_decoder_reads,
    '--num-data-workers': other_processes_read,
    '--timeout': a_video_that_hangs_is_given_up,
    '--failure-limit': more_may_be_missing,
    '--verify': what_differs_is_found,
    '--overwrite': records_of_other_settings_are_replaced,
}
