"""How fast it is and what it takes: `make bench`. Real processes are measured; no test asserts a figure."""
