"""`python -m cli` is `skyfill`: the supervisor starts its processes this way."""

from cli.app import main

if __name__ == "__main__":
    main()
