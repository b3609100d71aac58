"""DIDs in: sources of accounts, their resolution to hosts and keys, and the planner that makes them tasks."""
