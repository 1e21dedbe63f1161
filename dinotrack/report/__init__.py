"""What people look at: the report of a run, and the drawings that it shares with the diagnosis of
benchmarks (`python -m dinotrack.benchmarks diagnose`).

markup.py writes HTML and SVG, pictures.py draws on frames, and likeness.py asks a fit how similar
things are. Each section of a report is a function of a `Story`, and a line in `sections.SECTIONS`.
"""
