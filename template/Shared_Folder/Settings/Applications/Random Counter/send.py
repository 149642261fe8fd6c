"""Random Counter: every file selected is one case."""


def select_input_files(filepath):
    """One case with one input file; the file is not modified."""
    return [[filepath]]
