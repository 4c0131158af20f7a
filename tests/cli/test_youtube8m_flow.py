"""The walk-through of YouTube-8M's winners of 2018, run by its printed commands, and what each of its steps costs."""
import csv
import os
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import numpy as np
import pytest
from printed_commands import README, commands_of

from gluon_action.cli.main import main
from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.deploy.feature_scoring.evaluation import evaluate_stored
from gluon_action.deploy.feature_scoring.scoring import Scoring

SCRIPTS = Path(__file__).parents[2] / 'scripts' / 'youtube8m'
VARIABLES = {'SAVEPATH': '../trained_models', 'RECORDPAT': '../data/frame/train', 'RECORDPATVAL': '../data/frame/train',
             'RECORDPATTEST': '../data/frame/test'}
TRAIN, EVAL, TRAIN_EMA, EVAL_EMA = commands_of(README)
QUANTIZE = 'quantize.py --transform_type quant_uniform --model "$SAVEPATH//NetVLAD_ema/inference_model" ' \
           '--savefile ../trained_models/quants/your_model/inference_model'
COPY = 'cp $SAVEPATH//NetVLAD_ema/model_flags.json ../trained_models/quants/your_model'
#: Printed with three weights for the four models.
ENSEMBLE = 'graph_ensemble.py --models ../trained_models/quants/74/inference_model ' \
           '../trained_models/model_1/inference_model ../trained_models/model_2/inference_model ' \
           '../trained_models/model_3/inference_model --weights 0.25 0.25 0.25 0.25 ' \
           '--save_folder ../train_models/your_combined_output_graph'
#: Printed with the variable RECORDPATtest, which nothing sets.
INFERENCE = 'inference_gpu.py --train_dir "../trained_models/quants/your_model" --output_file="./output.csv" ' \
            '--input_data_pattern="$RECORDPATTEST/*.tfrecord" --batch_size 200 --sample_all'
DISTILL_SET = 'prepare_distill_dataset.py --batch_size 128 --file_size 512 --input_data_pattern ' \
              '"$RECORDPATVAL/*.tfrecord" --output_dir "output_folder/train_distill/" --model_file ' \
              '"../train_models/your_ensemble_model/inference_model"'
#: The printed command is for a network that takes a card to itself; what follows here makes it small.
SMALL = '--num_classes=8 --netvlad_cluster_size=8 --netvlad_hidden_size=32 --max_frames=24 --iterations=24 ' \
        '--batch_size=32 --base_learning_rate=0.005 --num_epochs=3 --batch_norm_decay=0.9'


def printed(command: str, folder: Path, more: str = '') -> str:
    """Run a command as it is printed, `more` behind it, in a folder; returns what it says."""
    words = shlex.split(string.Template(f'{command} {more}').substitute(VARIABLES))
    program = [words[0]] if words[0] == 'cp' else [sys.executable, str(SCRIPTS / words[0])]
    # A machine with a GPU that MXNet cannot use must give the same.
    done = subprocess.run([*program, *words[1:]], cwd=folder, text=True, capture_output=True,
                          env={**os.environ, 'CUDA_VISIBLE_DEVICES': '0', 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done.stdout + done.stderr


def gap_in(text: str) -> float:
    return float(re.findall(r'GAP: ([0-9.]+)', text)[-1])


@pytest.mark.slow
def test_the_printed_commands_run_one_after_the_other(tmp_path):
    work = tmp_path / 'youtube8mchallenge'
    work.mkdir()
    made = {}
    for partition, videos in (('train', 400), ('test', 100)):
        made[partition] = make_feature_records(
            tmp_path / 'data' / 'frame' / partition, videos=videos, partition=partition, classes=8,
            sizes=(('rgb', 1024), ('audio', 128)), lengths=(1, 30), labelled=True)
    printed(TRAIN, work, SMALL)
    # From here on the printed sizes stand against the stored ones, which win.
    said = printed(EVAL, work)
    assert '256' in said and 'ignored' in said
    assert (tmp_path / 'trained_models/NetVLAD/inference_model.params').is_file()
    printed(TRAIN_EMA, work)
    printed(EVAL_EMA, work)
    printed(QUANTIZE, work)
    printed(COPY, work)
    whole, small = (tmp_path / 'trained_models' / name / 'inference_model.params'
                    for name in ('NetVLAD_ema', 'quants/your_model'))
    assert small.stat().st_size < 0.5 * whole.stat().st_size
    for name in ('quants/74', 'model_1', 'model_2', 'model_3'):
        printed(QUANTIZE.replace('quants/your_model', name), work)
    combined = printed(ENSEMBLE, work)
    assert 'inference_model' in combined
    printed(INFERENCE, work)
    with open(work / 'output.csv', newline='') as file:
        header, *rows = csv.reader(file)
    assert header == ['VideoId', 'LabelConfidencePairs'] and [row[0] for row in rows] == made['test'].ids
    tags = np.array([row[1].split() for row in rows], float).reshape(len(rows), -1, 2)
    assert (np.diff(tags[:, :, 1], axis=1) <= 0).all() and ((tags[:, :, 1] >= 0) & (tags[:, :, 1] <= 1)).all()
    os.rename(tmp_path / 'train_models/your_combined_output_graph', tmp_path / 'train_models/your_ensemble_model')
    printed(DISTILL_SET, work)
    assert sorted(os.listdir(work / 'output_folder/train_distill'))[0].startswith('predictions-00000')
    student = TRAIN.replace('train.py', 'train_distill.py').replace('$RECORDPAT/', 'output_folder/train_distill/') \
        .replace('//NetVLAD', '//student')
    printed(student, work, SMALL + ' --loss_lambda 0.5')
    said = printed(EVAL.replace('//NetVLAD', '//student').replace(' --build_only', ''), work)
    assert gap_in(said) > 0.5
    assert (tmp_path / 'trained_models/student/evallog.txt').is_file()


FEATURES = ('--frame_features', '--feature_names=rgb,audio', '--feature_sizes=16,8', '--num_classes=10',
            '--max_frames=40', '--batch_size=64', '--base_learning_rate=0.005', '--num_epochs=8', '--num_readers=1',
            '--batch_norm_decay=0.9')
NETWORKS = {'vlad': ('--model=NetVLADModelLF', '--netvlad_cluster_size=8', '--netvlad_hidden_size=64', '--sample_all',
                     '--netvlad_relu=False', '--gating'),
            'bag': ('--model=DbofModel', '--dbof_cluster_size=64', '--dbof_hidden_size=64', '--sample_all',
                    '--video_level_classifier_model=LogisticModel')}


def command(name: str, *words: str) -> None:
    assert main(['youtube8m', name, *words]) == 0, (name, words)


#: Seed -> what its chain gave.
FOUND: dict[int, dict[str, float]] = {}


@pytest.fixture(scope='module', params=(0, 1, 2))
def chain(request, tmp_path_factory):
    """GAP on the validation set of every model of the chain, trained where 30 % of the labels are missing."""
    folder, seed = tmp_path_factory.mktemp(f'chain{request.param}'), request.param
    patterns = {partition: make_feature_records(
        folder / partition, partition=partition, videos=videos, classes=10, sizes=(('rgb', 16), ('audio', 8)),
        lengths=(1, 40), seed=seed, drop_labels=dropped).pattern
        for partition, videos, dropped in (('train', 1200, 0.3), ('validate', 800, 0.))}
    gaps = {}

    def gap(name: str, model: Path) -> None:
        scoring = Scoring(str(model), batch_size=256, num_readers=1)
        gaps[name] = evaluate_stored(scoring, patterns['validate'])['gap']

    def train(name: str, network: str, *words: str, distill: bool = False) -> None:
        command('train_distill' if distill else 'train', f'--train_data_pattern={patterns["train"]}',
                f'--train_dir={folder / name}', *FEATURES, *NETWORKS[network], *words)
        command('eval', f'--train_dir={folder / name}', '--build_only', '--run_once')
        gap(name, folder / name / 'inference_model')

    for name in NETWORKS:
        train(name, name, f'--seed={seed}')
    for kind in ('uniform', 'kmeans', 'quantile'):
        command('quantize', f'--transform_type=quant_{kind}', f'--model={folder}/vlad/inference_model',
                f'--savefile={folder}/{kind}/inference_model', '--min_elements=100')
        gap(kind, folder / kind / 'inference_model')
    command('graph_ensemble', '--models', f'{folder}/uniform/inference_model', f'{folder}/bag/inference_model',
            '--weights', '0.5', '0.5', f'--save_folder={folder}/both')
    gap('both', folder / 'both' / 'inference_model')
    command('prepare_distill_dataset', f'--input_data_pattern={patterns["train"]}', f'--output_dir={folder}/teacher',
            f'--model_file={folder}/both/inference_model', '--predictions_only')
    train('student', 'vlad', f'--seed={seed}', f'--predictions={folder}/teacher', distill=True)
    FOUND[seed] = gaps
    return gaps


@pytest.mark.slow
def test_eight_bits_cost_little_and_an_ensemble_is_better_than_its_members(chain):
    assert chain['vlad'] > 0.6
    assert abs(chain['uniform'] - chain['vlad']) < 0.002 and abs(chain['kmeans'] - chain['vlad']) < 0.002
    assert abs(chain['quantile'] - chain['vlad']) < 0.02
    assert chain['both'] > (chain['uniform'] + chain['bag']) / 2


@pytest.mark.slow
def test_a_student_is_about_as_good_as_one_without_a_teacher(chain, capsys):
    """Better or worse is noise on sets of this size; after the last seed the means are told."""
    assert chain['student'] > chain['vlad'] - 0.05
    means = {name: np.mean([gaps[name] for gaps in FOUND.values()]) for name in chain}
    with capsys.disabled():
        print(f'\nmean GAP of {len(FOUND)} seeds:', ', '.join(f'{name} {value:.4f}' for name, value in means.items()))
