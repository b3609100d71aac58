"""Endpoints, a file a kind of thing."""
