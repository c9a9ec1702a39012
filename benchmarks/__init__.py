"""Benchmarks: one file a question, answered as ratios against a named baseline. See `benchmarks.__main__`."""
