"""The `skyfill` command: a thin layer, one file per group of commands."""
