"""Settings from the environment and a file, and the configuration of logs."""

from latentwatch.stream.settings.settings import Settings, settings_page, settings_table

__all__ = ["Settings", "settings_page", "settings_table"]
