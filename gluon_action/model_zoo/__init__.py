"""The model zoo: networks by name, their cards and their weights."""
from . import gluoncv_zoo, i3d, inception, resnet, s3dg, timesformer, vgg
from .registry import ModelCard, get_model, list_models, model_card, register_model
from .weights import load_weights

__all__ = ['ModelCard', 'get_model', 'gluoncv_zoo', 'i3d', 'inception', 'list_models', 'load_weights', 'model_card',
           'register_model', 'resnet', 's3dg', 'timesformer', 'vgg']
