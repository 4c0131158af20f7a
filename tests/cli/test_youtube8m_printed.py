"""The commands of training and evaluation that the winners of 2018 print run as they stand, on small networks."""
import json
import logging
import re
import shlex
import string

import pytest
from feature_runs import state_of

from gluon_action.cli import main as commands
from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.model_zoo.frame_features.stored import read_stored
from gluon_action.train.recipes.frame_features_log import TagStyle

#: README.md of miha-skalic/youtube8mchallenge, as it is printed.
PRINTED = r'''
python train.py \
--train_data_pattern="$RECORDPAT/*.tfrecord" \
--model=NetVLADModelLF \
--train_dir="$SAVEPATH//NetVLAD" \
--frame_features=True --feature_names="rgb,audio" \
--feature_sizes="1024,128" \
--batch_size=160 --base_learning_rate=0.0002 \
--netvlad_cluster_size=256 \
--netvlad_hidden_size=1024 \
--moe_l2=1e-6 --iterations=300 \
--learning_rate_decay=0.8 \
--netvlad_relu=False \
--gating=True \
--moe_prob_gating=True \
--lightvlad=False \
--num_gpu 1 \
--num_epochs=10 \

python eval.py \
--eval_data_pattern="$RECORDPATVAL/*.tfrecord" \
--model=NetVLADModelLF \
--train_dir="$SAVEPATH//NetVLAD" \
--frame_features=True --feature_names="rgb,audio" \
--feature_sizes="1024,128" \
--batch_size=160 --base_learning_rate=0.0002 \
--netvlad_cluster_size=256 \
--netvlad_hidden_size=1024 \
--moe_l2=1e-6 --iterations=300 \
--learning_rate_decay=0.8 \
--netvlad_relu=False \
--gating=True \
--moe_prob_gating=True \
--lightvlad=False \
--num_gpu 1 \
--num_epochs=10 \
--run_once \
--build_only \
--sample_all

python train.py \
--train_data_pattern="$RECORDPAT/*.tfrecord" \
--model=NetVLADModelLF \
--train_dir="$SAVEPATH//NetVLAD_ema" \
--video_level_classifier_model="LogisticModel" \
--frame_features \
--feature_names="rgb, audio" \
--feature_sizes="1024, 128" \
--batch_size=160 \
--base_learning_rate=0.00008 \
--lstm_cells=1024 \
--num_epochs=2 \
--num_gpu 1 \
--num_readers 8 \
--loss_lambda 0.5 \
--ema_halflife 2000 \
--ema_source "$SAVEPATH//NetVLAD/inference_model"

python eval.py \
--eval_data_pattern="$RECORDPATVAL/*.tfrecord" \
--model=NetVLADModelLF \
--train_dir="$SAVEPATH//NetVLAD_ema" \
--video_level_classifier_model="LogisticModel" \
--frame_features \
--feature_names="rgb, audio" \
--feature_sizes="1024, 128" \
--batch_size=160 \
--base_learning_rate=0.00008 \
--lstm_cells=1024 \
--num_epochs=2 \
--num_gpu 1 \
--num_readers 8 \
--build_only \
--run_once \
--sample_all
'''
#: What makes the first training small; the others find it in what is stored.
SMALL = ['--netvlad_cluster_size', '4', '--netvlad_hidden_size', '8', '--iterations', '6', '--num_classes', '10',
         '--max_frames', '8', '--num_epochs', '1']


def printed(variables):
    """Script and words of each command."""
    text = string.Template(re.sub(r'\\\n', ' ', PRINTED)).substitute(variables)
    lines = [shlex.split(line) for line in text.splitlines() if line.strip()]
    return [(words[1].removesuffix('.py'), words[2:]) for words in lines]


@pytest.fixture
def run(tmp_path, monkeypatch, caplog):
    """Runs a command of the printed ones, by its place, with more words; gives what it warned of."""
    monkeypatch.setattr(TagStyle, 'plot', lambda *_: None)
    make_feature_records(tmp_path / 'train', videos=12, sizes=(('rgb', 1024), ('audio', 128)), lengths=(1, 11))
    steps = printed({'SAVEPATH': str(tmp_path / 'trained_models'), 'RECORDPAT': str(tmp_path / 'train'),
                     'RECORDPATVAL': str(tmp_path / 'train')})

    def one(number, *more):
        caplog.clear()
        script, words = steps[number]
        with caplog.at_level(logging.INFO):
            assert commands.main(['youtube8m', script, *words, *more]) == 0
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return one


def test_they_run_in_a_row(run, tmp_path, caplog):
    first, averaged = tmp_path / 'trained_models' / 'NetVLAD', tmp_path / 'trained_models' / 'NetVLAD_ema'
    assert run(0, *SMALL) == []
    assert run(1, *SMALL[:8]) == []
    assert '--base_learning_rate, --learning_rate_decay, --num_epochs: of another command, no effect here.' \
        in caplog.messages
    model = read_stored(first / 'inference_model').architecture
    assert (model.netvlad_cluster_size, model.video_level_classifier_model, model.sample_all) == (4, 'MoeModel', True)
    warning, = run(2)
    assert '--video_level_classifier_model LogisticModel (stored: MoeModel)' in warning
    assert '--loss_lambda: of another command, no effect here.' in caplog.messages
    state = state_of(averaged)
    assert state['config']['netvlad_cluster_size'] == 4 and state['config']['ema_halflife'] == 2000
    warning, = run(3)
    assert '--video_level_classifier_model LogisticModel (stored: MoeModel)' in warning
    stored = read_stored(averaged)
    assert stored.about['averaged'] and stored.architecture.sample_all and stored.architecture.gating
    assert all((array == state['averages'][key]).all() for key, array in stored.members[0].parameters())
    flags = json.loads((averaged / 'model_flags.json').read_text())
    assert flags['feature_names'] == 'rgb,audio' and flags['moe_prob_gating']


def test_sample_all_takes_all_frames_with_a_note(run, caplog):
    run(0, *SMALL, '--sample_all')
    assert '--sample_all draws each of the 8 frames, so --iterations 6 became 8.' in caplog.messages
