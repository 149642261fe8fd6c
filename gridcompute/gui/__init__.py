"""The window: state without Tk (state, rows, texts), and the views that show it."""
