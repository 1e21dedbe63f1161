"""What the command line is made of: its arguments, its words on a terminal, and its files."""
