"""Whose weights run decides how their input is prepared, in every command."""
import numpy as np
import pytest

from gluon_action.errors import ModelError
from gluon_action.input_kind import FEATURES
from gluon_action.model_zoo import list_models, model_card
from gluon_action.train.recipes.config import TrainConfig

HALF = {'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.5, 0.5]}
#: One card for each mean and deviation in the zoo, and one that weights have changed.
CARDS = {(card.mean, card.std): card for card in map(model_card, list_models()) if card.input != FEATURES}
CARDS['changed'] = model_card('resnet50_v1b_kinetics400').prepared({'mean': [.1, .2, .3], 'std': [.5, .6, .7]})


@pytest.mark.parametrize('data_aug', ['v1', 'v2', 'v3', 'v4'])
@pytest.mark.parametrize('card', CARDS.values(), ids=lambda card: f'{card.name}{"*" * bool(card.of)}')
def test_training_and_validation_make_the_same_numbers_of_a_colour(card, data_aug):
    config = TrainConfig(model=card.name, data_aug=data_aug, input_size=24, new_height=32, new_width=40, flip_prob=0)
    frames = np.broadcast_to(np.uint8([10, 100, 250])[:card.channels], (1, 36, 44, card.channels)).copy()
    trained = config.augmentation(card)(frames)
    validated = config.preprocess(card).transform(frames)
    np.testing.assert_allclose(np.unique(trained), np.unique(validated), atol=1e-6)
    expected = (frames[0, 0, 0] / 255 - np.array(card.mean)) / card.std
    np.testing.assert_allclose(np.asarray(trained)[0, :, 0, 0], expected, atol=1e-6)


def test_weights_change_a_card_and_the_card_knows_what():
    own = model_card('i3d_resnet50_v1_kinetics400')
    card = own.prepared({**HALF, 'clip_length': 8, 'clip_stride': 8, 'input_size': 224, 'segments': 3})
    assert (card.mean, card.std, card.clip_length, card.clip_stride) == ((.5,) * 3, (.5,) * 3, 8, 8)
    assert card.preparation == {'mean': (.5,) * 3, 'std': (.5,) * 3, 'clip_length': 8, 'clip_stride': 8}
    assert (card.of, card.name, card.num_classes) == (own, own.name, own.num_classes)
    assert card.prepared({'clip_length': 16}).preparation == {'clip_length': 16}
    assert card.prepared({}) is own and own.preparation == {}
    with pytest.raises(ModelError, match='mean has 2 numbers and a frame 3 channels'):
        own.prepared({'mean': [.5, .5]})
