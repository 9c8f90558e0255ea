"""The version of this release, read by setup.cfg, the API and the command line."""

VERSION = "0.1.0"
