"""What shows each flag of the commands that export a network and verify what was exported."""
import json

from flags_world import NAME, changes, import_row, ran, seen, traceback_row

from gluon_action.cli import export, verify
from gluon_action.cli.command import run
from gluon_action.deploy.bundle.format import read_bundle

ZOO = (NAME, '--input-size', '32')
RANDOM = (*ZOO, '--no-weights', '--num-classes', '3')
CLIPS = ('timesformer_small_custom', '--no-weights', '--input-size', '16')


def export_it(world, *argv):
    return run(export.parse_args, export.main, [str(item).format(**world.paths) for item in argv])


def bundle(world, *argv):
    """The folder that the command writes."""
    folder = world.new_folder() / 'bundle'
    assert export_it(world, *argv, '--out', folder) == 0
    return folder


def source(world, *argv):
    """What is opened, before it becomes ONNX."""
    return export.source_of(export.parse_args([*(item.format(**world.paths) for item in argv), '--out', 'never']))


def prepared(field, base):
    return lambda world, *flags: getattr(source(world, *base, *flags).preprocess, field)


def head(world, *argv):
    return source(world, *argv).net.output.bias.data().shape


def weights(world, *argv):
    return source(world, *argv).net.output.weight.data().asnumpy()


@seen('source')
def a_run_and_a_model_of_the_zoo_can_be_exported(world, output, *flags):
    folder = ran(world)
    assert read_bundle(bundle(world, folder)).num_classes == source(world, str(folder)).net.num_classes == 8
    assert read_bundle(bundle(world, *RANDOM)).num_classes == 3


@seen('--out', '{tmp}/bundle_here')
def the_bundle_is_written_where_told(world, output, *flags):
    flag, path = (item.format(**world.paths) for item in flags)
    assert export_it(world, *RANDOM, flag, path) == 0
    assert read_bundle(path).name == NAME and path in output.readouterr().out
    run_folder = ran(world)
    assert export_it(world, run_folder) == 0 and read_bundle(f'{run_folder}-bundle').num_classes == 8
    assert export_it(world, run_folder) == 2 and f'{run_folder}-bundle exists' in output.readouterr().err


@seen('--json', '{tmp}/exported.json')
def what_was_exported_is_written(world, output, *flags):
    flag, path = (item.format(**world.paths) for item in flags)
    folder = bundle(world, *RANDOM, flag, path)
    found = json.loads((world.folder / 'exported.json').read_text())
    assert found['bundle'] == str(folder) and found['num_classes'] == 3 and found['manifest']['model'] == NAME
    assert export_it(world, *RANDOM, '--out', world.new_folder() / 'b', flag, path) == 2
    assert '--overwrite' in output.readouterr().err
    assert json.loads((export_it(world, *RANDOM, '--out', folder, '--overwrite', flag, '-'), output.readouterr().out)[1]
                      )['bundle'] == str(folder)


@seen('--overwrite')
def only_overwrite_replaces_a_bundle(world, output, *flags):
    folder = bundle(world, *RANDOM)
    before = (folder / 'manifest.json').read_text()
    other = (NAME, '--no-weights', '--num-classes', '4', '--input-size', '32', '--out', folder)
    assert export_it(world, *other) == 2 and '--overwrite' in output.readouterr().err
    assert (folder / 'manifest.json').read_text() == before
    assert export_it(world, *other, *flags) == 0 and read_bundle(folder).num_classes == 4


@seen('--model', NAME)
def a_file_of_parameters_is_of_the_network_that_is_named(world, output, *flags):
    argv = ('{weights}', '--input-size', '32', '--out', world.new_folder() / 'x')
    assert export_it(world, *argv) == 2 and 'name its network with --model' in output.readouterr().err
    assert source(world, *argv[:3], *flags).net.num_classes == 8


@seen('--use-pretrained')
def published_weights_are_taken_when_asked_for(world, output, *flags):
    assert export_it(world, *ZOO, '--out', world.new_folder() / 'x') == 2
    assert '--use-pretrained takes the published ones' in output.readouterr().err
    first = world.published[0][1][:8]
    assert source(world, *ZOO, *flags).notes['Weights'].startswith(f'{NAME}, published weights {first} of ')


@seen('--no-weights')
def random_weights_are_taken_when_asked_for_and_said_to_be(world, output, *flags):
    assert export_it(world, *ZOO, '--out', world.new_folder() / 'x') == 2
    assert '--no-weights' in output.readouterr().err
    assert 'the scores mean nothing' in (bundle(world, *ZOO, *flags) / 'model_card.md').read_text()


@seen('--labels', '{tmp}/names.json')
def labels_are_those_of_the_file(world, output, *flags):
    path = world.folder / 'names.json'
    path.write_text(json.dumps({'wave': 1, 'rest': 0, 'jump': 2}))
    assert read_bundle(bundle(world, *RANDOM)).labels is None
    assert read_bundle(bundle(world, *RANDOM, flags[0], str(path))).labels == ['rest', 'wave', 'jump']


@seen('--reference-clip')
def the_reference_clip_is_of_the_video(world, output, *flags):
    import numpy as np
    video = world.videos / world.train[0][0]
    found = [np.load(bundle(world, *RANDOM, *extra) / 'reference.npz')['frames'] for extra in ((), (*flags, video))]
    assert found[0].shape[1:3] == (37, 37) and found[1].shape[1] == 37 < found[1].shape[2]


@seen('--threads', '1')
def threads_are_those_of_the_runtime(world, output, *flags):
    folder = world.once(bundle, *RANDOM)
    assert run(verify.parse_args, verify.main, [str(folder), *flags]) == 0
    assert run(verify.parse_args, verify.main, [str(folder), flags[0], '0']) == 2
    assert 'threads must be 1 to' in output.readouterr().err


@seen('bundle')
def the_bundle_that_is_named_is_verified(world, output, *flags):
    folder = bundle(world, *RANDOM)
    assert run(verify.parse_args, verify.main, [str(folder)]) == 0
    assert output.readouterr().out.endswith('OK\n')
    (folder / 'labels.json').write_text('["a", "b", "c"]')
    assert run(verify.parse_args, verify.main, [str(folder)]) == 1
    assert f'{folder}/labels.json: has 15 bytes' in output.readouterr().err


EXPORT_ROWS = {
    'export': {
        '--debug': traceback_row(lambda world: [export, NAME, '--out', str(world.folder / 'never')]),
        '--import': import_row(lambda world: [export, NAME, '--out', str(world.folder / 'never')]),
        'source': a_run_and_a_model_of_the_zoo_can_be_exported,
        '--out': the_bundle_is_written_where_told,
        '--json': what_was_exported_is_written,
        '--overwrite': only_overwrite_replaces_a_bundle,
        '--model': a_file_of_parameters_is_of_the_network_that_is_named,
        '--use-pretrained': published_weights_are_taken_when_asked_for,
        '--hashtag': changes(weights, '--hashtag', '{tag}', given=(*ZOO, '--use-pretrained')),
        '--index': changes(weights, '--index', '{own_index}', given=(*ZOO, '--use-pretrained')),
        '--trust-first-use': changes(weights, '--trust-first-use',
                                     given=(*ZOO, '--use-pretrained', '--index', '{open_export}')),
        '--no-weights': random_weights_are_taken_when_asked_for_and_said_to_be,
        '--num-classes': changes(head, '--num-classes', '3', given=(*ZOO, '--no-weights'), to=(3,)),
        '--labels': labels_are_those_of_the_file,
        '--multi-label': changes(prepared('activation', RANDOM), '--multi-label', to='sigmoid'),
        '--clip-length': changes(prepared('offsets', CLIPS), '--clip-length', '2', to=(0, 4)),
        '--clip-stride': changes(prepared('span', CLIPS), '--clip-stride', '2', to=15),
        '--input-size': changes(prepared('crop', RANDOM), '--input-size', '40', to=(40, 40)),
        '--short-side': changes(prepared('resize', RANDOM), '--short-side', '0', to={}),
        '--crops': changes(prepared('crops', RANDOM), '--crops', '10', to=10),
        '--stride': changes(prepared('stride', RANDOM), '--stride', '3', to=3),
        '--reference-clip': the_reference_clip_is_of_the_video,
    },
    'verify': {
        '--debug': traceback_row(lambda world: [verify, str(world.folder / 'nothing')]),
        'bundle': the_bundle_that_is_named_is_verified,
        '--threads': threads_are_those_of_the_runtime,
    },
}
