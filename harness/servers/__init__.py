"""Starters of real servers for tests: each in a private folder, on free ports of 127.0.0.1, gone with the tests."""
