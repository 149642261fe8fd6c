"""One case of each file."""


def select_input_files(filepath):
    return [[filepath]]
