"""Benchmarks: ours beside what a good engineer writes in an afternoon, on the same servers, in the same run."""
