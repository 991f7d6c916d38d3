"""Measure companions beside their peers, in one run: `python -m benchmarks` (docs/performance.md)."""
