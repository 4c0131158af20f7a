"""
From YouTube-8M's records to a submission
=========================================

YouTube-8M [AbuElHaija16]_ has no pixels: of each video there are 1,024 numbers a second that an image network has made,
and 128 of the sound. What is learned is which of 3,862 tags a video has. This page walks the way of the winners of the
challenge of 2018 [Skalic18]_, who had to fit into one gigabyte: train, average, quantize, combine, distil. It uses
their commands, on records that are generated, in minutes and without a GPU.

Each step below is a command; ``scripts/youtube8m/train.py`` and ``gluon-action youtube8m train`` are the same.
"""
# %%
# Records
# -------
# ``gluon-action make-demo-data demo_features`` writes the same records; here we also keep what is true of them. Some of
# the tags are told by the mean of a video's frames, others only by the order of the frames. Three in ten labels of the
# training set are missing, as machine-made labels are.
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from gluon_action.data.demo.frame_features import make_feature_records

folder = Path(tempfile.mkdtemp())
settings = {'classes': 12, 'sizes': (('rgb', 32), ('audio', 8)), 'lengths': (1, 30)}
for partition, videos, dropped in (('train', 1500, 0.3), ('validate', 600, 0), ('test', 100, 0)):
    made = make_feature_records(folder / partition, partition=partition, videos=videos, drop_labels=dropped, **settings)
    print(made.pattern, len(made.ids), 'videos')


# %%
# A command on this page is run as you would type it.
def youtube8m(command, show=r'GAP|MB|error'):
    """Run a command in the folder and print it, with those lines of its output that the pattern finds."""
    print('$ gluon-action youtube8m', ' '.join(command.split()))
    program = str(Path(sys.executable).with_name('gluon-action'))
    done = subprocess.run([program, 'youtube8m', *shlex.split(command)], cwd=folder, text=True, capture_output=True,
                          check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    print('\n'.join([line for line in said.splitlines() if re.search(show, line)][-4:]))
    return said


def gap_in(said):
    """Return the global average precision that a command has printed last."""
    return float(re.findall(r'GAP(?: Score)?: ([0-9.]+)', said)[-1])


gaps = {}
SMALL = ('--frame_features --feature_names "rgb, audio" --feature_sizes "32, 8" --num_classes 12 --max_frames 30 '
         '--batch_size 64 --learning_rate_decay 0.8 --batch_norm_decay 0.9')

# %%
# Train
# -----
# NetVLAD [Arandjelovic16]_ gathers the frames into clusters, whatever their order. The flags are those of the winners,
# with smaller numbers. ``--sample_all`` shows the network every frame of a video.
youtube8m(f"""train --train_data_pattern "train/*.tfrecord" --train_dir netvlad --model NetVLADModelLF {SMALL}
          --netvlad_cluster_size 16 --netvlad_hidden_size 64 --netvlad_relu False --gating --moe_prob_gating
          --moe_l2 1e-6 --sample_all --base_learning_rate 0.004 --num_epochs 6""")
said = youtube8m('eval --eval_data_pattern "validate/*.tfrecord" --train_dir netvlad --run_once')
gaps['NetVLAD'] = gap_in(said)

# %%
# ``eval`` left ``inference_model.params`` and ``inference_model.json`` in ``netvlad``: the network as every other
# command takes it. What it consists of is stored, so no flag has to be repeated.
#
# Average
# -------
# A short training at a lower rate goes on from there, and keeps a moving average of all that the network consists of;
# ``--ema_halflife 100`` keeps 1 - 1/100 of it at each step. ``eval`` takes the average where there is one.
youtube8m("""train --train_data_pattern "train/*.tfrecord" --train_dir netvlad_ema --ema_source netvlad/inference_model
          --ema_halflife 100 --batch_size 64 --base_learning_rate 0.001 --num_epochs 2""")
said = youtube8m('eval --eval_data_pattern "validate/*.tfrecord" --train_dir netvlad_ema --run_once')
gaps['averaged'] = gap_in(said)

# %%
# Quantize
# --------
# Every array of more than ``--min_elements`` values becomes 8 bits and a table of 256 levels: a quarter of the size.
youtube8m("""quantize --model netvlad_ema/inference_model --transform_type quant_uniform --min_elements 500
          --savefile quantized/inference_model""")
said = youtube8m('eval_custom --eval_data_pattern "validate/*.tfrecord" --model_file quantized/inference_model')
gaps['8 bits'] = gap_in(said)

# %%
# A second network
# ----------------
# A recurrent network reads the frames in their order.
youtube8m(f"""train --train_data_pattern "train/*.tfrecord" --train_dir gru --model GRUbidirect {SMALL}
          --lstm_cells 64 --video_level_classifier_model LogisticModel --base_learning_rate 0.004 --num_epochs 6""")
said = youtube8m('eval --eval_data_pattern "validate/*.tfrecord" --train_dir gru --run_once')
gaps['GRU'] = gap_in(said)

# %%
# Combine
# -------
# The probabilities of several models are added up, and the sum is one model again.
youtube8m("""graph_ensemble --models quantized/inference_model gru/inference_model --weights 0.5 0.5
          --save_folder ensemble""")
said = youtube8m('eval_custom --eval_data_pattern "validate/*.tfrecord" --model_file ensemble/inference_model')
gaps['both'] = gap_in(said)

# %%
# Submit
# ------
# The twenty best tags of each video, in the format of the challenge.
youtube8m("""inference --train_dir ensemble --input_data_pattern "test/*.tfrecord" --output_file submission.csv""")
print('\n'.join(line[:100] for line in (folder / 'submission.csv').read_text().splitlines()[:4]))

# %%
# Distil
# ------
# One network learns what the ensemble says of the training videos, besides their labels. The ensemble's predictions go
# into a file beside the records: copies of all records with them, the winners' way, would take 1.4 TB.
youtube8m("""prepare_distill_dataset --input_data_pattern "train/*.tfrecord" --model_file ensemble/inference_model
          --predictions_only --output_dir teacher""")
youtube8m(f"""train_distill --train_data_pattern "train/*.tfrecord" --predictions teacher --train_dir student
          --model NetVLADModelLF {SMALL} --netvlad_cluster_size 16 --netvlad_hidden_size 64 --netvlad_relu False
          --gating --moe_prob_gating --moe_l2 1e-6 --sample_all --base_learning_rate 0.004 --num_epochs 6
          --loss_lambda 0.5""")
said = youtube8m('eval --eval_data_pattern "validate/*.tfrecord" --train_dir student --run_once')
gaps['student'] = gap_in(said)

# %%
# What each step was worth
# ------------------------
# The student is as large as the first network. On records of this size its lead or lag is noise as often as not: repeat
# with other seeds before you believe a difference.
places = {'NetVLAD': (0, 1), 'averaged': (1, 1), '8 bits': (2, 1), 'GRU': (2, 0), 'both': (3, 0.5),
          'student': (4, 0.5)}
arrows = [('NetVLAD', 'averaged'), ('averaged', '8 bits'), ('8 bits', 'both'), ('GRU', 'both'),
          ('both', 'student')]
figure, axes = plt.subplots(figsize=(9, 3))
for begin, end in arrows:
    axes.annotate('', places[end], places[begin], arrowprops={'arrowstyle': '->', 'shrinkA': 36, 'shrinkB': 36})
for name, place in places.items():
    axes.text(*place, f'{name}\n{gaps[name]:.3f}', ha='center', va='center',
              bbox={'boxstyle': 'round,pad=0.5', 'facecolor': 'white', 'edgecolor': 'tab:blue'})
axes.set(xlim=(-0.5, 4.5), ylim=(-0.4, 1.4), title='global average precision (GAP@20) after each step')
axes.axis('off')
figure.tight_layout()

# %%
# .. [AbuElHaija16] Sami Abu-El-Haija et al. YouTube-8M: A Large-Scale Video Classification Benchmark.
#    arXiv:1609.08675, 2016.
# .. [Skalic18] Miha Skalic and David Austin. Building a Size Constrained Predictive Model for Video Classification.
#    ECCV Workshops 2018.
# .. [Arandjelovic16] Relja Arandjelovic et al. NetVLAD: CNN architecture for weakly supervised place recognition.
#    CVPR 2016, arXiv:1511.07247.
