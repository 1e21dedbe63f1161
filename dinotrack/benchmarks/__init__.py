"""Measurements of the whole tracker: `python -m dinotrack.benchmarks NAME`. Nothing else imports
this.

- `accuracy` runs methods (`methods`, `rivals`) on clips with truth (`datasets`, `tapvid`,
  `pickles`, `truth`), sums up their rows (`summary`) and writes tables (`accuracy_report`).
- `speed` times the stages of the pipeline (`stages`, `growth`), the steps of a fit against the
  paper's (`against_paper`, `step_times`, `equal_time`), tracking against the reference's way
  (`against_reference`, `reference`), and the kernels (`kernel_speed`, `kernel_report`);
  `speed_report` writes tables.
- `diagnose` shows where a fit goes wrong (`case`), as a page (`diagnose_page`, `markup`,
  `pictures`).
- `calibrate` fits the weights of confidence.
- `gpu` runs what needs a GPU, one command after another.

What is measured is a frozen value, written as JSON and read back in `records` alone. All Markdown
is written by `report`, and `outputs` writes the files of a run. `machine` says where something was
measured, and `options` are those of the command line that several benchmarks have.
"""
