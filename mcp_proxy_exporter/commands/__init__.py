"""The commands of the command line, a module each.

Each module has `add(commands)`, which adds its parser and sets ``command`` there: a function from
the parsed arguments to an exit code. What all share is in `common`.
"""
