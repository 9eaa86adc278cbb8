"""Programs of random steps against the mock, by hypothesis, with what must hold after each step. `make stateful`."""
