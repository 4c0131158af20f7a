"""The name that GluonCV gives the general data set of labelled videos."""
from ..video_dataset import VideoClsCustom

__all__ = ['VideoClsCustom']
