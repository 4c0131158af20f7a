"""What a network can learn from the generated videos, and what it cannot."""
import numpy as np
import pytest

from gluon_action.train.config import TrainConfig
from gluon_action.train.recognizer import train_recognizer

# What `make demo` runs.
RECIPE = dict(model='resnet18_v1b_custom', pretrained_base=False, use_tsn=True, num_segments=3, input_size=64,
              data_aug='v3', new_height=64, new_width=74, dropout=0., batch_size=16, lr=0.02, warmup_epochs=1,
              lr_mode='cosine', num_epochs=14, num_workers=2, log_interval=0)


@pytest.mark.slow
def test_frames_are_enough_where_appearance_decides(tmp_path):
    result = train_recognizer(TrainConfig(**RECIPE, dataset='demo_appearance', data_dir=str(tmp_path / 'videos'),
                                          save_dir=str(tmp_path / 'run')))
    assert result.best_score >= 0.95


@pytest.mark.slow
def test_averaging_frames_cannot_see_their_order(tmp_path):
    result = train_recognizer(TrainConfig(**RECIPE, dataset='demo_motion', data_dir=str(tmp_path / 'videos'),
                                          save_dir=str(tmp_path / 'run')))
    chance = 1 / 4
    scores = [record['val_top1'] for record in result.history]
    assert max(scores) <= chance + 0.10 and abs(np.mean(scores[-3:]) - chance) <= 0.10
