"""What can be done from the command line, a file for each command.

A command is a file with the function run(argv), which does it and returns the exit code, and the
text INTERRUPTED, which is said where it is interrupted; and it is a line of
`terminal.arguments.COMMANDS`. `dinotrack VIDEO` is track.py, and has no word.
"""
