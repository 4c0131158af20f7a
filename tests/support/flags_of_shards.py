"""What shows each flag of youtube8m merge."""
import os
from pathlib import Path

from flags_world import seen, traceback_row
from sharded_job import WordsConfig, open_words, write_words

from gluon_action.cli import main as commands
from gluon_action.cli.youtube8m import merge
from gluon_action.deploy.sharding.shards import parts_of, run_job
from gluon_action.unfinished import Shard


def shared_out(world) -> Path:
    """The output that two shards were to make; their parts lie there."""
    folder = world.new_folder()
    config = WordsConfig(str(write_words(folder / 'in')), str(folder / 'out.csv'))
    for index in (1, 2):
        run_job(open_words, config, shard=Shard(index, 2))
    return Path(config.output)


def merged(output, *flags):
    return commands.main(['youtube8m', 'merge', str(output), *flags])


@seen('output')
def that_result_is_joined(world, output, *flags):
    made = shared_out(world)
    assert merged(made) == 0 and made.read_text().startswith('Word\nw10\n')
    assert '7 inputs, each once' in output.readouterr().out


@seen('--check_inputs')
def inputs_are_read_again(world, output, *flags):
    made = shared_out(world)
    path = made.parent / 'in' / '1.txt'
    times = path.stat()
    path.write_text('w1X')
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # of another time it is read anyway
    assert merged(made, *flags) == 1 and 'is another file' in output.readouterr().err
    assert merged(made) == 0


@seen('--keep_parts')
def parts_are_kept(world, output, *flags):
    for extra in ((), flags):
        made = shared_out(world)
        assert merged(made, *extra) == 0 and parts_of(made).exists() == bool(extra)


@seen('--overwrite')
def an_older_result_is_replaced(world, output, *flags):
    made = shared_out(world)
    made.write_text('old')
    assert merged(made) == 1 and 'exists' in output.readouterr().err
    assert merged(made, *flags) == 0 and made.read_text() != 'old'


MERGE_ROWS = {
    '--debug': traceback_row(lambda world: [merge, '/nowhere/out']),
    'output': that_result_is_joined,
    '--check_inputs': inputs_are_read_again,
    '--keep_parts': parts_are_kept,
    '--overwrite': an_older_result_is_replaced,
}
