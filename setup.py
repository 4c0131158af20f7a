"""Metadata lives in pyproject.toml; here is what it cannot say.

``gluon_action_startup.pth`` must lie in site-packages itself to be read when Python starts.
"""
import os
import sys
import sysconfig

from setuptools import Distribution, setup


class DistributionWithData(Distribution):
    """Installs ``data_files`` in editable installs too: setuptools asks there for a method of this name."""

    has_data = Distribution.has_data_files


setup(distclass=DistributionWithData,
      data_files=[(os.path.relpath(sysconfig.get_path('purelib'), sys.prefix), ['gluon_action_startup.pth'])])
