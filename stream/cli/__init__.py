"""The command ``latentwatch``: one file for each group of commands."""
