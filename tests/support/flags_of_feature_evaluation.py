"""What shows each flag of evaluating a training on features."""
import importlib.util
import json
import logging
import re
import shutil

import pytest
from flags_of_features import argv, ignored, trained
from flags_world import NO_PYTORCH, changes, seen, traceback_row, without_pytorch

from gluon_action import options
from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import eval as evaluation
from gluon_action.cli.youtube8m import train
from gluon_action.deploy.feature_scoring import run_evaluation
from gluon_action.feature_architecture import SAMPLING, TRAINING, Architecture
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.train.recipes.frame_features.config import FeatureTraining

BASE = ('--eval_data_pattern', '{records}/validate*.tfrecord', '--batch_size', '3', '--num_readers', '0', '--num_gpu',
        '0', '--run_once')
#: What may be another one than is stored.
FREE = (*SAMPLING, *TRAINING)
DRAWN = ('--model', 'NetVLADModelLF', '--netvlad_cluster_size', '4', '--netvlad_hidden_size', '6', '--iterations', '3')


def folder_of(world, *flags):
    """A copy of the folder of a run with moving averages."""
    before = world.once(trained, '--ema_halflife', '4', *flags)
    return shutil.copytree(before, world.new_folder() / 'run')


def evaluated(world, *flags, of=()):
    """The folder in which a run was evaluated."""
    folder = folder_of(world, *of)
    words = argv(world, '--train_dir', folder, *flags, base=BASE)
    assert run(evaluation.parse_args, evaluation.main, words) == 0
    return folder


def result(world, *flags, of=()):
    return json.loads((evaluated(world, *flags, of=of) / 'eval.json').read_text())


def scores(world, *flags):
    return world.once(result, *flags)['scores']


def stored(world, *flags):
    return read_stored(world.once(evaluated, *flags))


class Slept(Exception):
    pass


def asked(world, *flags):
    """What is to score the records."""
    class Asked(Exception):
        pass

    def scorer(scoring, files, need_labels):
        raise Asked(scoring)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Asked) as caught:
        patch.setattr(run_evaluation, 'FileScorer', scorer)
        args = evaluation.parse_args(argv(world, '--train_dir', folder_of(world), *flags, base=BASE))
        run_evaluation.evaluate_run(evaluation.config_from(args), args.given)
    return caught.value.args[0]


def slept(world, *flags):
    """How long it sleeps before it looks for another checkpoint."""
    def sleep(seconds):
        raise Slept(seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_evaluation.time, 'sleep', sleep)
        args = evaluation.parse_args(argv(world, '--train_dir', folder_of(world), *flags, base=BASE))
        try:
            run_evaluation.evaluate_run(evaluation.config_from(args), args.given)
        except Slept as stop:
            return stop.args[0]


@seen('--train_dir', '{tmp}/evaluated')
def that_run_is_evaluated(world, output, flag, folder):
    shutil.copytree(folder_of(world), world.folder / 'evaluated')
    assert run(evaluation.parse_args, evaluation.main, argv(world, flag, folder, base=BASE)) == 0
    assert (world.folder / 'evaluated' / 'eval.json').is_file()


@seen('--build_only')
def nothing_is_scored(world, output, flag):
    made = world.once(evaluated, flag)
    assert (made / 'inference_model.params').is_file() and not (made / 'eval.json').exists()
    assert run(evaluation.parse_args, evaluation.main, ['--train_dir', str(folder_of(world)), flag]) == 0


@seen('--strict_flags')
def what_contradicts_is_refused(world, output, flag):
    words = argv(world, '--train_dir', folder_of(world), '--num_classes', '9', base=BASE)
    assert [run(evaluation.parse_args, evaluation.main, [*words, *more]) for more in ((), (flag,))] == [0, 2]
    assert flag in output.readouterr().err


@seen('--n_rounds', '2')
def it_is_the_mean_of_two(world, output, flag, rounds):
    """The mean of what other draws say: other numbers than those of one round, and the same ones whenever asked."""
    once, twice, again = (result(world, *flags, of=DRAWN)['scores'] for flags in (
        (), (flag, rounds), (flag, rounds)))
    assert once != twice == again and again['count'] == once['count']


@seen('--engine', 'torch')
def the_other_engine_scores(world, output, *flags):
    with without_pytorch():
        words = argv(world, '--train_dir', folder_of(world), *flags, base=BASE)
        assert run(evaluation.parse_args, evaluation.main, words) == 2
    assert re.search(NO_PYTORCH, output.readouterr().err)
    if importlib.util.find_spec('torch'):
        assert result(world, *flags)['protocol']['engine'] == 'torch'
        assert scores(world, *flags) == pytest.approx(scores(world), abs=1e-5)


def contradicts(name):
    """The stored network decides, and one line names the flag with both values."""
    about, ours = options.options_of(Architecture)[name], getattr(Architecture, name)
    value = next((choice for choice in about.choices or () if choice != ours), None) or {
        bool: 'false' if ours is True else 'true', float: '0.25', str: 'mean_audio'}.get(type(ours)) or '12'
    value = {'feature_sizes': '9', 'model': 'NoModel'}.get(name, value)

    @seen(about.flag, value)
    def row(world, output, flag, value):
        args = evaluation.parse_args(argv(world, flag, value, base=BASE))
        before = Architecture()
        with output.logs.at_level(logging.INFO):
            after = run_evaluation._drawn(evaluation.config_from(args), args.given, before, 'here')
        assert after == before or name in FREE and getattr(after, name) != ours
        warned = [line for line in output.logs.messages if flag in line and str(ours) in line]
        assert len(warned) == (name not in FREE)
    return row


def draws(*flags):
    """The flag changes how frames are drawn, in the model that is written."""
    return changes(lambda world, *given: stored(world, '--build_only', *given).architecture, *flags)


FEATURE_EVALUATION_ROWS = {
    '--debug': traceback_row(lambda world: [evaluation, *argv(world, '--train_dir', '{tmp}/nowhere', base=BASE)]),
    **{options.flag_of(Architecture, name): contradicts(name) for name in options.options_of(Architecture)},
    '--iterations': draws('--iterations', '4'), '--sample_all': draws('--sample_all'),
    '--sample_random_frames': draws('--sample_random_frames', 'false'), '--frame_shuffle': draws('--frame_shuffle'),
    '--eval_data_pattern': changes(lambda world, *flags: scores(world, *flags)['count'], '--eval_data_pattern',
                                   '{records}/train*.tfrecord', to=12),
    '--num_readers': changes(lambda world, *flags: asked(world, *flags).num_readers, '--num_readers', '1', to=1),
    '--on_error': changes(lambda world, *flags: asked(world, *flags).on_error, '--on_error', 'skip', to='skip'),
    '--batch_size': changes(lambda world, *flags: asked(world, *flags).batch_size, '--batch_size', '1', to=1),
    '--top_k': changes(lambda world, *flags: scores(world, *flags)['gap'], '--top_k', '1'),
    '--n_rounds': it_is_the_mean_of_two,
    '--use_EMA': changes(lambda world, *flags: stored(world, '--build_only', *flags).about['averaged'], '--use_EMA',
                         'false', to=False),
    '--engine': the_other_engine_scores,
    '--num_gpu': changes(lambda world, *flags: asked(world, *flags).gpu, '--num_gpu', '1', to=True),
    '--train_dir': that_run_is_evaluated,
    '--build_only': nothing_is_scored,
    '--run_once': changes(slept, '--run_once', given=('--run_once', 'false'), to=None),
    '--poll_seconds': changes(slept, '--poll_seconds', '7', given=('--run_once', 'false'), to=7),
    '--strict_flags': what_contradicts_is_refused,
}
FEATURE_EVALUATION_ROWS |= {flag: ignored(evaluation, flag, '1', base=BASE) for flag in (
    *train.DEAD, *(option.flag for option in options.options_of(FeatureTraining).values()))
    if flag not in FEATURE_EVALUATION_ROWS}
