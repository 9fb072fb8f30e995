"""What the tests, the benchmarks and `make test` share: stores, traces on the machine, other engines."""
