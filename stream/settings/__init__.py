"""Settings of every program, from the environment and a file, and how they log."""

from latentwatch.stream.settings.settings import Settings, settings_page, settings_table

__all__ = ["Settings", "settings_page", "settings_table"]
