"""The entry point of the build; its configuration is in setup.cfg."""

from setuptools import setup

setup()
