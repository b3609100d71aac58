"""Outcomes to approximate rates, with Faust."""
