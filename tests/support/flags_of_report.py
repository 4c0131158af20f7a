"""What shows each flag of report and compare."""
import json
import os

from flags_of_test import finished
from flags_world import import_row, seen, traceback_row

from gluon_action.cli import compare, report
from gluon_action.cli.command import run


def tested(world, *flags):
    """The folder of a test."""
    return str(world.once(finished, *flags))


def made(world, *flags):
    return run(report.parse_args, report.main, [item.format(**world.paths) for item in flags])


@seen('{tmp}')
def the_page_of_that_run_is_made(world, output, *flags):
    folder = tested(world)
    os.remove(os.path.join(folder, 'report.html'))
    assert made(world, *flags) == 2 and 'holds no run' in output.readouterr().err
    assert made(world, folder) == 0 and os.path.exists(os.path.join(folder, 'report.html'))


@seen('--out', '{tmp}/page.html')
def the_page_is_in_that_file(world, output, *flags):
    assert made(world, tested(world), *flags) == 0
    assert (world.folder / 'page.html').read_text().startswith('<!DOCTYPE html>')


@seen('--no-frames')
def no_video_is_opened(world, output, *flags):
    pages = []
    for argv in ((), flags):
        assert made(world, tested(world), '--out', '{tmp}/page.html', *argv) == 0
        pages.append((world.folder / 'page.html').read_text())
    assert 'data:image/jpeg' in pages[0] and 'data:image/jpeg' not in pages[1]


def compared(world, output, *flags):
    """What the command prints of two tests of other weights; None where it refuses."""
    folders = (tested(world), tested(world, '--resume-params', '{other}'))
    output.readouterr()
    code = run(compare.parse_args, compare.main, [*folders, *(item.format(**world.paths) for item in flags)])
    return output.readouterr().out if code == 0 else None


@seen('/nowhere')
def a_third_run_is_compared(world, output, *flags):
    assert 'McNemar' in compared(world, output) and compared(world, output, *flags) is None


@seen('--shared')
def other_lists_are_compared(world, output, *flags):
    world._list('first', world.val[:6:2])
    fewer = tested(world, '--val-list', '{first}')
    assert compared(world, output, fewer) is None
    assert 'over the 3 videos that all have; there are 8 in all' in compared(world, output, fewer, *flags)


@seen('--html', '{tmp}/both.html')
def a_page_compares(world, output, *flags):
    assert compared(world, output, *flags).endswith('both.html\n')
    assert 'What differs' in (world.folder / 'both.html').read_text()


@seen('--json')
def a_comparison_is_json(world, output, *flags):
    assert len(json.loads(compared(world, output, *flags))['runs']) == 2


REPORT_ROWS = {
    'report': {'--debug': traceback_row(lambda world: [report, '/nowhere']), 'run': the_page_of_that_run_is_made,
               '--out': the_page_is_in_that_file, '--no-frames': no_video_is_opened,
               '--import': import_row(lambda world: [report, '/nowhere'])},
    'compare': {'--debug': traceback_row(lambda world: [compare, '/nowhere', '/nowhere']),
                'runs': a_third_run_is_compared, '--shared': other_lists_are_compared, '--html': a_page_compares,
                '--json': a_comparison_is_json},
}
