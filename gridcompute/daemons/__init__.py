"""The work: claiming, processing and receiving cases."""
