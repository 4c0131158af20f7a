"""Networks of features of frames, as YouTube-8M has them: pooled, recurrent, and of whole videos."""
from ...feature_architecture import Architecture
from . import dbof, fisher, netvlad, video_level
from .network import FeatureNetwork, build, key_of, tensorflow_name, variables

__all__ = ['Architecture', 'FeatureNetwork', 'build', 'dbof', 'fisher', 'key_of', 'netvlad', 'tensorflow_name',
           'variables', 'video_level']
