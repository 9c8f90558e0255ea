"""Tests in three rings: unit (no servers), integration (real servers), acceptance (real processes, killed for real)."""
