"""The command that makes a train_dir of a TensorFlow checkpoint of YouTube-8M."""
import json

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import numpy as np
import pytest
from tf_checkpoint_writer import write_checkpoint

from gluon_action.cli import main as commands
from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features import variables
from gluon_action.model_zoo.frame_features.stored.reading import read_stored

NETWORK = ('--lstm_cells', '4', '--video_level_classifier_model', 'LogisticModel', '--num_classes', '3')
#: What the original writes beside its checkpoints.
FLAGS = {'model': 'GRUbidirect', 'feature_sizes': '4,3', 'feature_names': 'rgb, audio', 'frame_features': True,
         'label_loss': 'CrossEntropyLoss'}


@pytest.fixture
def checkpoint(tmp_path):
    architecture = Architecture(lstm_cells=4, video_level_classifier_model='LogisticModel', num_classes=3, **FLAGS)
    values = {f'tower/{name}': np.full(shape, 0.5, np.float32) for name, shape in variables(architecture).items()}
    prefix = write_checkpoint(tmp_path / 'original' / 'model.ckpt-70', {**values, 'global_step': np.array(70)})
    (prefix.parent / 'model_flags.json').write_text(json.dumps(FLAGS))
    return prefix


def imported(checkpoint, folder, *flags):
    return commands.main(['youtube8m', 'import_checkpoint', '--checkpoint', str(checkpoint), '--train_dir', str(folder),
                          *flags])


def test_a_run_is_made_that_other_commands_take(checkpoint, tmp_path, capsys):
    """Model and features are read from the file beside the checkpoint; the rest are flags."""
    assert imported(checkpoint, tmp_path / 'run', *NETWORK) == 0
    stored = read_stored(tmp_path / 'run')
    assert stored.single('--train_dir').architecture == Architecture.read(tmp_path / 'run')
    assert stored.architecture.model == 'GRUbidirect' and stored.architecture.features == (('rgb', 4), ('audio', 3))
    assert stored.about == {'from': str(checkpoint), 'step': 70, 'averaged': False}
    assert all((value == 0.5).all() for _, value in stored.members[0].parameters())
    said = capsys.readouterr().out
    assert '14 variables used, 1 unused' in said and f'step 70: {tmp_path / "run" / "inference_model"}' in said


def test_other_commands_go_on_with_it(checkpoint, tmp_path):
    """Evaluated, quantized, one of an ensemble, and asked for a submission."""
    run, records = tmp_path / 'run', make_feature_records(
        tmp_path / 'records', videos=6, partition='validate', classes=3, sizes=(('rgb', 4), ('audio', 3)),
        lengths=(1, 8)).pattern

    def command(name, *flags):
        assert commands.main(['youtube8m', name, *map(str, flags)]) == 0
    assert imported(checkpoint, run, *NETWORK, '--max_frames', '8') == 0
    command('eval', '--train_dir', run, '--eval_data_pattern', records, '--run_once', '--num_readers', 0)
    assert 'epoch/eval number 70 |' in (run / 'evallog.txt').read_text()
    quantized = tmp_path / 'quantized' / 'inference_model'
    command('quantize', '--transform_type', 'quant_uniform', '--model', run / 'inference_model', '--savefile',
            quantized, '--min_elements', 10)
    command('graph_ensemble', '--models', run / 'inference_model', quantized, '--weights', 0.5, 0.5, '--save_folder',
            tmp_path / 'both')
    command('inference', '--train_dir', tmp_path / 'both', '--input_data_pattern', records, '--output_file',
            tmp_path / 'submission.csv', '--batch_size', 4)
    assert len((tmp_path / 'submission.csv').read_text().splitlines()) == 7


def test_the_command_line_comes_before_the_file(checkpoint, tmp_path, capsys):
    assert imported(checkpoint, tmp_path / 'run', *NETWORK, '--model', 'Lstmbidirect') == 1
    assert 'is not Lstmbidirect as the flags make it' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_what_is_there_stays(checkpoint, tmp_path, capsys):
    assert imported(checkpoint, checkpoint.parent, *NETWORK) == 2
    assert 'is there already; name a new folder' in capsys.readouterr().err
    (tmp_path / 'empty').mkdir()
    assert imported(checkpoint, tmp_path / 'empty', *NETWORK) == 0


def test_what_is_no_checkpoint_is_said(tmp_path, capsys):
    assert imported(tmp_path / 'model.ckpt', tmp_path / 'run', *NETWORK) == 1
    assert 'no checkpoint of TensorFlow' in capsys.readouterr().err
