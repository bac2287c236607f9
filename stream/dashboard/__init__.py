"""The dashboard: what the output topics say, kept in one SQLite file and shown in a browser.

`follow` reads the topics, `records` checks what is in them, `store` keeps it and `history` reads it
back; `workers` asks the workers how they are. `app` puts the pages together, `access`, `headers`
and `pictures` keep strangers out, and `changes` tells open pages when to look again.
"""

__all__: list[str] = []
