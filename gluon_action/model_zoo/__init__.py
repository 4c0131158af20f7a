"""The model zoo: networks by name, their cards and their weights."""
from . import frame_features, gluoncv_zoo, i3d, inception, resnet, s3dg, timesformer, vgg
from .loading.pretrained import Start, find_start, load_weights
from .recognizer import Recognizer
from .registry import ModelCard, get_model, list_models, model_card, register_model

__all__ = ['ModelCard', 'Recognizer', 'Start', 'find_start', 'frame_features', 'get_model', 'gluoncv_zoo', 'i3d',
           'inception', 'list_models', 'load_weights', 'model_card', 'register_model', 'resnet', 's3dg', 'timesformer',
           'vgg']
