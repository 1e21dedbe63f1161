"""Measurements of the whole tracker: python -m dinotrack.benchmarks accuracy. Nothing else imports this."""
