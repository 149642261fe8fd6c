"""Pure-Python files of other projects that travel with the executors, each with its licence, unchanged."""
