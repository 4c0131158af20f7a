"""Networks of features of frames, as YouTube-8M has them: pooled, recurrent, and of whole videos."""
from ...feature_architecture import Architecture
from .families import attention, dbof, fisher, netvlad, nextvlad, recurrent, video_level
from .network import FeatureNetwork, build, key_of, options_without_effect, tensorflow_name, variables

__all__ = ['Architecture', 'FeatureNetwork', 'attention', 'build', 'dbof', 'fisher', 'key_of', 'netvlad', 'nextvlad',
           'options_without_effect', 'recurrent', 'tensorflow_name', 'variables', 'video_level']
