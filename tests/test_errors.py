"""What messages call an option: a flag in a command, an argument in Python."""
import pickle
from argparse import Namespace

import pytest

from gluon_action.cli.command import run
from gluon_action.data import VideoClsCustom
from gluon_action.data.video_options import VideoOptions
from gluon_action.deploy.feature_extraction.extract_config import ExtractConfig
from gluon_action.errors import AnnotationError, RecordError, UsageError, VideoReadError, called, naming_flags
from gluon_action.evaluate.options.config import TestConfig
from gluon_action.evaluate.options.frame_features_config import FeatureEvaluation
from gluon_action.options import options_of
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.recipes.clip_estimator.estimator import evaluate
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.epic.options import ClassifierOptions
from gluon_action.train.recipes.frame_features.config import FeatureTraining
from gluon_action.train.recipes.recognizer import train_recognizer
from gluon_action.weights.options import WeightsOptions


@pytest.fixture(autouse=True)
def from_python():
    with naming_flags(False):
        yield


CONFIGURATIONS = [TrainConfig, TestConfig, VideoOptions, WeightsOptions, EstimatorConfig, ClassifierOptions,
                  FeatureTraining, FeatureEvaluation, ExtractConfig]


@pytest.mark.parametrize('kind', CONFIGURATIONS, ids=lambda kind: kind.__name__)
def test_every_flag_is_called_as_its_argument(kind):
    for name, option in options_of(kind).items():
        assert str(UsageError(f'{option.flag}: is bad')).split('=')[0].split(':')[0] == name


@pytest.mark.parametrize('told, shown', [
    ('--lr-decay-epoch 30: is after --num-epochs 3', 'lr_decay_epoch=30: is after num_epochs=3'),
    ('--label-base -1 is low, pass --label-base 0', 'label_base=-1 is low, pass label_base=0'),
    ('no weights (--index FILE); add --no-pretrained-base.', 'no weights (weights_index FILE); add '
                                                             'pretrained_base=False.'),
    ('use fewer workers (-j, --num_readers)', 'use fewer workers (num_workers, num_readers)'),
    ('--use-amp: is slow', 'use_amp: is slow'),
    ('run gluon-action extract-flow a/b --out c; or pass --flow c', 'run gluon-action extract-flow a/b --out c; or '
                                                                    'pass flow c'),
    ('train_recognizer.py --resume-params prepares it', 'train_recognizer.py --resume-params prepares it'),
    ('a--b.mp4: not -jolly; 3 --- 4 -- 5', 'a--b.mp4: not -jolly; 3 --- 4 -- 5')])
def test_arguments_stand_in_the_place_of_flags_but_not_in_commands(told, shown):
    for error in (UsageError(told), pickle.loads(pickle.dumps(UsageError(told)))):
        assert str(error) == shown and error.args == (told,)
        with naming_flags():
            assert str(error) == told
    assert str(VideoReadError('a.mp4', 'pyav', told)) == f'a.mp4: cannot be read by pyav: {shown}'
    assert str(RecordError('a.tfrecord', 3, told)) == f'a.tfrecord, byte 3: {shown}'


def test_trainings_and_evaluations_from_python_are_told_their_arguments(tmp_path):
    config = dict(model='resnet18_v1b_ucf101', save_dir=str(tmp_path / 'run'))
    with pytest.raises(UsageError, match=r'^max_skip_share: means something with on_error skip only'):
        train_recognizer(TrainConfig(**config, max_skip_share=0.5))
    with pytest.raises(UsageError, match='add pretrained_base=False$'):
        train_recognizer(TrainConfig(**config, last_gamma=True))
    with pytest.raises(UsageError, match='^(?!.*--).*eval_subset_dir_path'):
        evaluate(EstimatorConfig(mode='eval', model_dir=str(tmp_path / 'none'), num_gpus=0, num_classes=3))


def test_a_data_set_is_told_its_own_arguments_and_a_configuration_its_own(tmp_path):
    (tmp_path / 'list.txt').write_text('../a.mp4 10 0\n')
    for setting, told in (('list.txt', 'pass another root, or root / to'), ('none.txt', '; pass setting$')):
        with pytest.raises(AnnotationError, match=told):
            VideoClsCustom(root=str(tmp_path), setting=str(tmp_path / setting))
    for setting, told in (('list.txt', 'pass another data_dir, or data_dir / to'),
                          ('none.txt', '; pass train_list and val_list$')):
        config = TrainConfig(dataset='custom', data_dir=str(tmp_path), train_list=str(tmp_path / setting))
        with pytest.raises(AnnotationError, match=told):
            config.open_videos(train=True)


def test_a_function_may_call_arguments_otherwise():
    @called(data_dir='root')
    def opened():
        raise UsageError('--data-dir: is gone')

    with pytest.raises(UsageError, match='^root: is gone$'):
        opened()


def test_a_command_names_flags_and_leaves_python_its_arguments(capsys):
    def main(args):
        raise UsageError('--weights: bad')

    assert run(lambda argv: Namespace(debug=False), main, []) == 2
    assert '--weights: bad' in capsys.readouterr().err
    assert str(UsageError('--weights: bad')) == 'weights: bad'
