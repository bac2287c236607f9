"""The dashboard: the content of the output topics, kept in one SQLite file, shown in a browser.

`follow` reads the topics, `records` validates their records, `store` writes them to the history and
`history` reads it. `workers` polls the workers and `lag` the consumer group. `app` and `api` serve
the pages and the JSON API, `access` decides who may see them, and `changes` notifies open pages.
"""

__all__: list[str] = []
