"""The pictures that benchmarks draw."""
