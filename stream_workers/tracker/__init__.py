"""Outcomes to exact job status."""
