"""Tells people and their systems of jobs: webhooks, and alerts in the log."""
