"""What shows each flag of the command that imports weights."""
import dataclasses
import json
import os

import mxnet as mx
from flags_world import NAME, changes, save_tiny, seen, traceback_row

from gluon_action.class_names import class_names
from gluon_action.cli import import_weights
from gluon_action.cli.command import run
from gluon_action.model_zoo.loading.preparation import file_beside
from gluon_action.weights import read_index

EIGHT = ('--num-classes', '8')


def argv_of(world, source, *flags, model=NAME):
    return [item.format(**world.paths) for item in (source, '--model', model, *flags)]


def import_them(argv):
    return run(import_weights.parse_args, import_weights.main, argv)


def imported(world, source, *flags):
    """What the command writes."""
    out = world.new_folder() / 'x.params'
    assert import_them([*argv_of(world, source, *flags), '--out', str(out)]) == 0
    return {key: array.asnumpy() for key, array in mx.nd.load(str(out)).items()}


def biggest(world, source='{weights}'):
    return max(array.max() for array in imported(world, source, *EIGHT).values())


@seen('--model', 'resnet18_v1b_ucf101')
def the_weights_must_be_of_the_model(world, output, *flags):
    out = world.new_folder() / 'x.params'
    argv = argv_of(world, '{weights}', *EIGHT, '--out', str(out), model=flags[1])
    assert import_them(argv) == 1 and not out.exists()
    assert f'not of a {flags[1]}' in output.readouterr().err


@seen('--out', '{tmp}/elsewhere.params')
def the_file_is_written_where_told(world, output, *flags):
    flag, path = (item.format(**world.paths) for item in flags)
    assert import_them([*argv_of(world, '{weights}', *EIGHT), flag, path]) == 0
    assert 'output.weight' in mx.nd.load(path) and f': {path}\n' in output.readouterr().out


@seen('--num-classes', '8')
def weights_of_other_classes_fit_when_they_are_named(world, output, *flags):
    refused = argv_of(world, '{weights}', '--out', str(world.new_folder() / 'x.params'))
    assert import_them(refused) == 1
    assert 'trained on 8 classes, this network has 101' in output.readouterr().err
    assert len(imported(world, '{weights}', *flags)['output.weight']) == 8


@seen('--new-head')
def a_new_head_has_the_models_classes(world, output, *flags):
    made = imported(world, '{weights}', *flags)
    assert len(made['output.weight']) == 101
    body = imported(world, '{weights}', *EIGHT)
    assert all((array == body[key]).all() for key, array in made.items() if not key.startswith('output.'))


@seen('--tag', '{tag}')
def the_row_of_published_weights_goes_along(world, output, *flags):
    flag, tag = (item.format(**world.paths) for item in flags)
    source, out = str(world.published[1][0]), world.new_folder() / 'x.params'
    argv = [*argv_of(world, source), '--out', str(out)]
    assert import_them(argv) == 0 and not file_beside(out).exists()
    assert import_them([*argv, '--overwrite', flag, tag]) == 0
    note = json.loads(file_beside(out).read_text())
    assert (note['row']['tag'], note['published']) == (tag, True)
    assert import_them([*argv, '--overwrite', flag, tag, '--format', 'params']) == 2
    assert f'--format: --tag {tag} says it' in output.readouterr().err
    assert import_them([*argv, '--overwrite', flag, world.published[0][1][:8]]) == 0
    assert 'is not the file that' in output.logs.text
    assert json.loads(file_beside(out).read_text())['published'] is False
    row = dataclasses.asdict(read_index().row(NAME, tag))
    file, where = {**row['files'][0], 'digest': ''}, world.new_folder() / 'index.json'
    where.write_text(json.dumps({'version': 1, 'rows': [{**row, 'tag': 'elsewhere', 'files': [file]}]}))
    assert import_them([*argv, '--overwrite', flag, 'elsewhere', '--index', str(where)]) == 0
    note = json.loads(file_beside(out).read_text())
    assert (note['row']['tag'], note['published']) == ('elsewhere', True)


@seen('--index', os.devnull)
def an_index_is_about_published_weights(world, output, *flags):
    argv = [*argv_of(world, '{weights}', *EIGHT, *flags), '--out', str(world.new_folder() / 'x.params')]
    assert import_them(argv) == 2
    assert '--index: is about published weights' in output.readouterr().err


@seen('--format', 'timm-resnet')
def a_format_that_is_named_is_not_recognised(world, output, *flags):
    assert import_them([*argv_of(world, '{weights}', *EIGHT, *flags), '--out', str(world.new_folder() / 'x')]) == 1
    assert 'variables are not of ResNet of timm or torchvision' in output.readouterr().err


@seen('--channels', 'bgr')
def filters_of_the_input_are_turned(world, output, *flags):
    straight, turned = imported(world, '{weights}', *EIGHT), imported(world, '{weights}', *EIGHT, *flags)
    assert {key for key in straight if (straight[key] != turned[key]).any()} == {'layers.0.weight'}
    assert (turned['layers.0.weight'] == straight['layers.0.weight'][:, ::-1]).all()


@seen('--class-names', '{tmp}/their_classes.txt')
def rows_of_the_head_go_where_their_class_is(world, output, *flags):
    flag, path = (item.format(**world.paths) for item in flags)
    weights, names = str(save_tiny(world.new_folder(), 101, 5)[0]), class_names('ucf101')
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join([names[1], names[0], *names[2:]]))
    straight, ordered = imported(world, weights), imported(world, weights, flag, path)
    assert (ordered['output.weight'][:2] == straight['output.weight'][1::-1]).all()
    assert (ordered['output.weight'][2:] == straight['output.weight'][2:]).all()
    assert import_them([*argv_of(world, '{weights}', *EIGHT, flag, path), '--out', 'never.params']) == 1
    assert 'names of its 101 classes are not those' in output.readouterr().err


@seen('--overwrite')
def only_overwrite_replaces_a_file(world, output, *flags):
    out = world.new_folder() / 'x.params'
    out.write_text('mine')
    argv = [*argv_of(world, '{weights}', *EIGHT), '--out', str(out)]
    assert import_them(argv) == 2 and out.read_text() == 'mine'
    assert '--overwrite' in output.readouterr().err
    assert import_them([*argv, *flags]) == 0 and out.read_bytes() != b'mine'


IMPORT_ROWS = {
    '--debug': traceback_row(lambda world: [import_weights, *argv_of(world, '{tmp}/nothing', '--out', '{tmp}/never')]),
    'source': changes(biggest, '{other}'),
    '--model': the_weights_must_be_of_the_model,
    '--out': the_file_is_written_where_told,
    '--num-classes': weights_of_other_classes_fit_when_they_are_named,
    '--tag': the_row_of_published_weights_goes_along,
    '--index': an_index_is_about_published_weights,
    '--format': a_format_that_is_named_is_not_recognised,
    '--channels': filters_of_the_input_are_turned,
    '--class-names': rows_of_the_head_go_where_their_class_is,
    '--new-head': a_new_head_has_the_models_classes,
    '--overwrite': only_overwrite_replaces_a_file,
}
