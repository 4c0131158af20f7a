"""Commands that the winners of 2018 print: miha-skalic/youtube8mchallenge."""
import re
import shlex
import string

#: README.md: training, evaluation, moving averages, their evaluation, as it is printed.
README = r"""
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
"""
#: runme.md, as it is printed.
FURTHER = r"""
python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=Lstmbidirect \
  --video_level_classifier_model="LogisticModel" \
  --frame_features \
  --feature_names="rgb, audio" \
  --feature_sizes="1024, 128" \
  --batch_size=256 \
  --train_dir="$SAVEPATH//LSTM_bidirectv0_logistic" \
  --base_learning_rate=0.0002 \
  --lstm_cells=1024 \
  --num_epochs=7 \
  --num_gpu 2 \
  --num_readers 12 \
  --start_new_model

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=Lstmbidirect \
  --frame_features \
  --feature_names="rgb, audio" \
  --feature_sizes="1024, 128" \
  --batch_size=256 \
  --train_dir="$SAVEPATH/LSTM_bidirectv0_MoE" \
  --base_learning_rate=0.0002 \
  --lstm_cells=1024 \
  --num_epochs=7 \
  --num_gpu 2 \
  --num_readers 12 \
  --start_new_model

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=NetVLADModelLF \
  --train_dir="$SAVEPATH/gatednetvladLF_v0" \
  --frame_features=True \
  --feature_names="rgb,audio" \
  --feature_sizes="1024,128" \
  --batch_size=80 \
  --base_learning_rate=0.0002 \
  --netvlad_cluster_size=256 \
  --netvlad_hidden_size=1024 \
  --moe_l2=1e-6 \
  --iterations=300 \
  --learning_rate_decay=0.8 \
  --netvlad_relu=False \
  --gating=True \
  --moe_prob_gating=True \
  --num_gpu 2 \
  --num_epochs=8

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=GRUbidirect_branchedBN \
  --video_level_classifier_model="LogisticModel" \
  --frame_features \
  --feature_names="rgb, audio" \
  --feature_sizes="1024, 128" \
  --batch_size=256 \
  --train_dir="$SAVEPATH/GRU_BN_dualpath" \
  --base_learning_rate=0.0002 \
  --num_epochs=7 \
  --num_gpu 2 \
  --num_readers 12

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=DbofModel \
  --video_level_classifier_model="LogisticModel" \
  --frame_features \
  --feature_names="rgb, audio" \
  --feature_sizes="1024, 128" \
  --batch_size=512 \
  --train_dir="$SAVEPATH/DBoFv0" \
  --num_epochs=7 \
  --num_gpu 2 \
  --iterations=40 \
  --num_readers 12

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=NetVLADModelLF \
  --train_dir="$SAVEPATH/gatedlightvladLF_v0" \
  --frame_features=True --feature_names="rgb,audio" \
  --feature_sizes="1024,128" \
  --batch_size=80 --base_learning_rate=0.0002 \
  --netvlad_cluster_size=256 \
  --netvlad_hidden_size=1024 \
  --moe_l2=1e-6 --iterations=300 \
  --learning_rate_decay=0.8 \
  --netvlad_relu=False \
  --gating=True \
  --moe_prob_gating=True \
  --lightvlad=True \
  --num_gpu 2 \
  --num_epochs=7 \

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=Lstmbidirect \
  --video_level_classifier_model="LogisticModel" \
  --frame_features \
  --feature_names="rgb, audio" \
  --feature_sizes="1024, 128" \
  --batch_size=256 \
  --train_dir="$SAVEPATH//LSTM_bidirectv0_frameShuffle" \
  --base_learning_rate=0.0002 \
  --lstm_cells=1024 \
  --num_epochs=7 \
  --num_gpu 2 \
  --num_readers 12 \
  --frame_shuffle

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=GatedDbofModelLF \
  --train_dir="$SAVEPATH/gatedsoftdbof" \
  --frame_features=True \
  --feature_names="rgb,audio" \
  --feature_sizes="1024,128" \
  --batch_size=80 \
  --base_learning_rate=0.0002 \
  --dbof_cluster_size=4096 \
  --dbof_hidden_size=1024 \
  --moe_l2=1e-6 \
  --iterations=300 \
  --dbof_relu=False \
  --num_gpu 2 \
  --num_epochs=7

python train.py \
  --train_data_pattern="$RECORDPAT/*.tfrecord" \
  --model=SoftDbofModelLF \
  --train_dir="$SAVEPATH/softdboflf8000" \
  --train_dir=softdboflf8000 \
  --frame_features=True \
  --feature_names="rgb,audio" \
  --feature_sizes="1024,128" \
  --batch_size=80 \
  --base_learning_rate=0.0002 \
  --dbof_cluster_size=8000 \
  --dbof_hidden_size=1024 \
  --iterations=300 \
  --dbof_relu=False \
  --num_gpu 2 \
  --num_epochs=7

python train.py \
  --train_data_pattern="$RECORDPAT//*.tfrecord" \
  --model=GRUbidirect \
  --frame_features \
  --feature_names="rgb, audio" \
  --feature_sizes="1024, 128" \
  --batch_size=256 \
  --train_dir="$SAVEPATH/GRUv0_GATED" \
  --base_learning_rate=0.0002 \
  --lstm_cells=1024 \
  --num_epochs=7 \
  --num_gpu 2 \
  --num_readers 12 \
  --gating=True \
  --moe_prob_gating=True \

"""


def commands_of(text):
    """Each command as a line that begins with its script."""
    return [line.removeprefix('python ') for line in re.sub(r'\\\n', ' ', text).splitlines() if line.strip()]


def words_of(text, variables):
    """Script and words of each command, with variables filled in."""
    commands = [shlex.split(string.Template(line).substitute(variables)) for line in commands_of(text)]
    return [(words[0].removesuffix('.py'), words[1:]) for words in commands]
