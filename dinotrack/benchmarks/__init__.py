"""Measurements of the whole tracker: python -m dinotrack.benchmarks accuracy, or speed.

Nothing else imports this.
"""
