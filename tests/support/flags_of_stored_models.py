"""What shows each flag of the commands for stored models of YouTube-8M: quantize, combine, average, score, distil."""
import os
import re
import tarfile

import pytest
from feature_models import store
from flags_world import ANY, NO_PYTORCH, changes, seen, traceback_row, without_pytorch

from gluon_action.cli import main as commands
from gluon_action.cli.youtube8m import (
    eval_custom,
    graph_ensemble,
    inference,
    inference_gpu,
    prepare_distill_dataset,
    quantize,
    weights_average,
)
from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.data.tfrecords.framing import RecordFile
from gluon_action.deploy.feature_scoring import distill_set, evaluation, scoring
from gluon_action.deploy.feature_scoring import inference as infer_module
from gluon_action.deploy.sharding.shards import parts_of
from gluon_action.model_zoo.frame_features.stored.reading import read_stored


def prepared(world):
    """Records of frames, the same with a damaged one, and two models that take them."""
    if 'tags' not in world.paths:
        folder = world.new_folder()
        world.paths['tags'], world.paths['damaged'] = str(folder), str(folder / 'damaged.tfrecord')
        for partition in ('test', 'validate'):
            made = make_feature_records(folder / partition, videos=9, files=3, partition=partition, lengths=(1, 15))
            world.paths[f'{partition}_records'] = made.pattern
        content = bytearray(made.paths[0].read_bytes())
        content[40] ^= 1
        (folder / 'damaged.tfrecord').write_bytes(content)
        for name, seed in (('one', 1), ('two', 2)):
            world.paths[name] = str(store(folder / name, seed=seed).parent)
    return world.paths


def command(world, name, *argv, code=0):
    prepared(world)
    assert commands.main(['youtube8m', name, *(str(word).format(**world.paths) for word in argv)]) == code


# quantize

def quantized(world, *flags, how='quant_uniform', model='{one}', code=0):
    """The arrays of a quantized model."""
    folder = world.new_folder()
    command(world, 'quantize', '--transform_type', how, '--model', model, '--savefile', folder / 'q',
            '--min_elements', '100', *flags, code=code)
    return read_stored(folder / 'q').members[0].arrays


@seen('--transform_type')
def levels_are_chosen(world, output, *flags):
    kinds = [quantized(world, how=how) for how in ('quant_uniform', 'quant_kmeans', 'quant_quantile')]
    levels = [tuple(arrays['fully_connected.weights_space']) for arrays in kinds]
    assert len(set(levels)) == 3
    assert quantized(world, how='float16')['fully_connected.weights'].dtype == 'float16'


@seen('--model')
def model_is_taken(world, output, *flags):
    first, second = (quantized(world, model=model)['fully_connected.biases'] for model in ('{one}', '{two}'))
    assert (first != second).any() and (first == read_stored(world.paths['one']).members[0].arrays[
        'fully_connected.biases']).all()


@seen('--savefile')
def copy_is_written(world, output, *flags):
    folder = world.new_folder()
    for name in ('a', 'b'):
        command(world, 'quantize', '--transform_type', 'float16', '--model', '{one}', *flags, folder / name)
    assert sorted(os.listdir(folder)) == ['a.json', 'a.params', 'b.json', 'b.params']


# graph_ensemble and weights_average

def combined(world, *flags, name='graph_ensemble', models=('{one}', '{two}'), code=0):
    folder = world.new_folder() / 'made'
    command(world, name, '--models', *models, '--save_folder', folder, *flags, code=code)
    return read_stored(folder) if code == 0 else folder.exists()


def members_of(name):
    @seen('--models')
    def row(world, output, *flags):
        both, same = (combined(world, name=name, models=models) for models in (('{one}', '{two}'), ('{one}', '{one}')))
        assert both.sha256 != same.sha256
    return row


def folder_of(name):
    @seen('--save_folder')
    def row(world, output, *flags):
        folder = world.new_folder()
        command(world, name, '--models', '{one}', '{two}', *flags, folder / 'here')
        assert os.listdir(folder) == ['here']
    return row


@seen('--max_model_bytes')
def large_ones_are_refused(world, output, *flags):
    combined(world, *flags, '100000')
    assert combined(world, *flags, '1000', code=2) is False
    assert 'more than the 1,000 allowed' in output.readouterr().err


# inference, eval_custom and prepare_distill_dataset

def tags(world, *flags, name='inference', model=('--train_dir', '{one}'), records='{test_records}', code=0):
    """Content of a CSV; None where there is none."""
    path = world.new_folder() / 'tags.csv'
    command(world, name, *model, '--input_data_pattern', records, '--output_file', path, '--num_readers', '1', *flags,
            code=code)
    return path.read_text() if path.exists() else None


def distilled(world, *flags, model='{one}', records='{validate_records}', code=0):
    """The files of a distillation set, and how many records are in each."""
    folder = world.new_folder() / 'set'
    command(world, 'prepare_distill_dataset', '--model_file', model, '--input_data_pattern', records, '--output_dir',
            folder, '--num_readers', '1', *flags, code=code)
    return {path.name: (len(RecordFile(path)), path.read_bytes()) for path in folder.glob('*')} if folder.exists() \
        else None


def lengths(world, *flags):
    return {name: count for name, (count, _) in distilled(world, *flags).items()}


def scored(world, *flags, model='{one}', records='{validate_records}', code=0):
    """What eval_custom finds."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        evaluate = evaluation.evaluate_stored
        patch.setattr(evaluation, 'evaluate_stored', lambda *a, **k: found.append(evaluate(*a, **k)) or found[-1])
        command(world, 'eval_custom', '--model_file', model, '--eval_data_pattern', records, '--num_readers', '1',
                *flags, code=code)
    return found[0] if found else None


RUN = {'inference': tags, 'inference_gpu': lambda *a, **k: tags(*a, name='inference_gpu', **k),
       'prepare_distill_dataset': distilled, 'eval_custom': scored}


def asked(name):
    """What is to be scored, as the command asks for it."""
    def look(world, *flags):
        prepared(world)
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            for module, function in ((infer_module, 'infer'), (distill_set, 'make_distill_set'),
                                     (evaluation, 'evaluate_stored')):
                patch.setattr(module, function, lambda config, *a, **k: seen.append(config) or 1 / 0)
            RUN[name](world, *flags, code=1)
        return getattr(seen[0], 'scoring', seen[0])
    return look


def drawing(name, field):
    return lambda world, *flags: getattr(asked(name)(world, *flags).open().architecture, field)


def batches(name):
    """Videos that are computed together."""
    def look(world, *flags):
        sizes = []
        with pytest.MonkeyPatch.context() as patch:
            size_of = scoring._batch_size
            patch.setattr(scoring, '_batch_size', lambda *a: sizes.append(size_of(*a)) or sizes[-1])
            RUN[name](world, *flags)
        return sizes[0]
    return look


def skipping(name):
    @seen('--on_error')
    def row(world, output, *flags):
        RUN[name](world, records='{damaged}', code=1)
        assert 'record 0' in output.readouterr().err
        assert RUN[name](world, *flags, 'skip', records='{damaged}') is not None
    return row


def readers(name):
    return changes(lambda world, *flags: asked(name)(world, *flags).num_readers, '--num_readers', '3', to=3)


def engine_of(name):
    @seen('--engine', 'torch')
    def row(world, output, *flags):
        assert (asked(name)(world).engine, asked(name)(world, *flags).engine) == ('mxnet', 'torch')
        with without_pytorch():
            assert RUN[name](world, *flags, code=2) is None
        assert re.search(NO_PYTORCH, output.readouterr().err)
    return row


def scoring_rows(name):
    return {
        '--engine': engine_of(name),
        '--batch_size': changes(batches(name), '--batch_size', '2', to=2), '--num_readers': readers(name),
        '--on_error': skipping(name),
        '--iterations': changes(drawing(name, 'iterations'), '--iterations', '7', to=7),
        '--sample_random_frames': changes(drawing(name, 'sample_random_frames'), '--sample_random_frames', 'false',
                                          to=False),
        '--sample_all': changes(drawing(name, 'sample_all'), '--sample_all', to=True),
        '--frame_shuffle': changes(drawing(name, 'frame_shuffle'), '--frame_shuffle', to=True)}


def shard_rows(name):
    @seen('--shard')
    def part_is_made(world, output, *flags):
        assert RUN[name](world, *flags, '2/3') is None
        assert 'gluon-action youtube8m merge' in output.readouterr().out

    @seen('--ray')
    def ray_is_asked(world, output, *flags):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('gluon_action.deploy.sharding.shards.on_ray', lambda address, *a: 1 / 0)
            assert RUN[name](world, *flags, 'local', code=1) is None
            assert RUN[name](world) is not None
    return {'--shard': part_is_made, '--ray': ray_is_asked}


def inference_rows(name, module):
    run = RUN[name]

    @seen('--train_dir')
    def model_is_named(world, output, *flags):
        assert run(world) != run(world, model=(*flags, '{two}'))

    @seen('--input_data_pattern')
    def records_are_read(world, output, *flags):
        assert run(world) != run(world, records='{validate_records}')

    @seen('--output_file')
    def csv_is_written(world, output, *flags):
        path = world.new_folder() / 'x.csv'
        command(world, name, '--train_dir', '{one}', '--input_data_pattern', '{test_records}', *flags, path)
        assert path.read_text().startswith('VideoId,') and not parts_of(path).exists()

    @seen('--overwrite')
    def an_older_one_is_replaced(world, output, *flags):
        path = world.new_folder() / 'x.csv'
        path.write_text('old')
        argv = '--train_dir', '{one}', '--input_data_pattern', '{test_records}', '--output_file', path
        command(world, name, *argv, code=1)
        command(world, name, *argv, *flags)
        assert path.read_text() != 'old'

    @seen('--output_model_tgz', '--input_model_tgz', '--untar_model_dir')
    def model_goes_into_an_archive_and_out_of_it(world, output, *flags):
        folder = world.new_folder()
        packing, taking, place = flags
        first = run(world, packing, folder / 'm.tgz')
        with tarfile.open(folder / 'm.tgz') as tar:
            assert 'inference_model.params' in tar.getnames()
        assert run(world, model=(taking, folder / 'm.tgz', place, folder / 'out')) == first
        assert 'inference_model.params' in os.listdir(folder / 'out')
        # Without a folder that is named, each archive has one of its own: no model of another is left to be taken.
        run(world, packing, folder / 'two.tgz', model=('--train_dir', '{two}'))
        assert run(world, model=(taking, folder / 'two.tgz')) != first == run(world, model=(taking, folder / 'm.tgz'))
        run(world, taking, folder / 'm.tgz', code=2)
        assert '--train_dir and --input_model_tgz' in output.readouterr().err

    return {
        '--debug': traceback_row(lambda world: [module, '--train_dir', '/nowhere', '--input_data_pattern', 'x',
                                                '--output_file', 'y']),
        '--train_dir': model_is_named, '--input_data_pattern': records_are_read, '--output_file': csv_is_written,
        '--overwrite': an_older_one_is_replaced,
        '--top_k': changes(lambda world, *flags: run(world, *flags).splitlines()[1].count(' '), '--top_k', '3', to=5),
        **dict.fromkeys(('--output_model_tgz', '--input_model_tgz', '--untar_model_dir'),
                        model_goes_into_an_archive_and_out_of_it),
        **scoring_rows(name), **shard_rows(name)}


@seen('--model_file')
def teacher_is_named(world, output, *flags):
    assert distilled(world) != distilled(world, model='{two}')


@seen('--input_data_pattern')
def records_are_taken(world, output, *flags):
    assert distilled(world) != distilled(world, records='{test_records}')


@seen('--output_dir')
def set_is_written(world, output, *flags):
    folder = world.new_folder() / 'here'
    command(world, 'prepare_distill_dataset', '--model_file', '{one}', '--input_data_pattern', '{test_records}', *flags,
            folder)
    assert len(os.listdir(folder)) == 3


def ignored(flag):
    @seen(flag)
    def row(world, output, *flags):
        with output.logs.at_level('INFO'):
            prepare_distill_dataset.parse_args([*flags, 'x'])
        assert f'{flag}: the original never reads it' in output.logs.text
    return row


@seen('--model_file')
def model_is_scored(world, output, *flags):
    assert scored(world)['gap'] != scored(world, model='{two}')['gap']


@seen('--eval_data_pattern')
def labels_are_read(world, output, *flags):
    prepared(world)
    one = world.paths['validate_records'].replace('*', '00')
    assert (scored(world)['count'], scored(world, records=one)['count']) == (9, 3)


STORED_MODEL_ROWS = {
    'youtube8m quantize': {
        '--debug': traceback_row(lambda world: [quantize, '--transform_type', 'float16', '--model', '/nowhere',
                                                '--savefile', '/nowhere/q']),
        '--transform_type': levels_are_chosen, '--model': model_is_taken, '--savefile': copy_is_written,
        '--min_elements': changes(lambda world, *flags: sorted(quantized(world, *flags)), '--min_elements', '240',
                                  to=['fully_connected.biases', 'fully_connected.weights'])},
    'youtube8m graph_ensemble': {
        '--debug': traceback_row(lambda world: [graph_ensemble, '--models', '/a', '/b', '--save_folder', '/nowhere/e']),
        '--models': members_of('graph_ensemble'), '--save_folder': folder_of('graph_ensemble'),
        '--weights': changes(lambda world, *flags: combined(world, *flags).weights, '--weights', '.25', '.75',
                             to=[0.25, 0.75]),
        '--max_model_bytes': large_ones_are_refused},
    'youtube8m weights_average': {
        '--debug': traceback_row(lambda world: [weights_average, '--models', '/a', '--save_folder', '/nowhere/e']),
        '--models': members_of('weights_average'), '--save_folder': folder_of('weights_average')},
    'youtube8m inference': inference_rows('inference', inference),
    'youtube8m inference_gpu': inference_rows('inference_gpu', inference_gpu),
    'youtube8m prepare_distill_dataset': {
        '--debug': traceback_row(lambda world: [prepare_distill_dataset, '--model_file', '/nowhere',
                                                '--input_data_pattern', 'x', '--output_dir', 'y']),
        '--model_file': teacher_is_named, '--input_data_pattern': records_are_taken, '--output_dir': set_is_written,
        '--file_size': changes(lambda world, *flags: sorted(lengths(world, *flags).values()), '--file_size', '2',
                               to=[1, 1, 1, 2, 2, 2]),
        '--predictions_only': changes(lambda world, *flags: sorted(distilled(world, *flags)), '--predictions_only',
                                      to=['validate00.tfrecord', 'validate01.tfrecord', 'validate02.tfrecord']),
        **{flag: ignored(flag) for flag in prepare_distill_dataset.DEAD},
        **scoring_rows('prepare_distill_dataset'), **shard_rows('prepare_distill_dataset')},
    'youtube8m eval_custom': {
        '--debug': traceback_row(lambda world: [eval_custom, '--model_file', '/nowhere', '--eval_data_pattern', 'x']),
        '--model_file': model_is_scored, '--eval_data_pattern': labels_are_read,
        '--top_k': changes(lambda world, *flags: scored(world, *flags)['gap'], '--top_k', '2', to=ANY),
        **scoring_rows('eval_custom')}}
