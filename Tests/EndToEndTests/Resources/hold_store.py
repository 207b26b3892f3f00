"""Keeps a store of a gateway from answering, as a process would that hangs in the middle of its work.

usage: hold_store.py changes|everything FILE...

With `changes` nobody can write to the SQLite files, with `everything` nobody can read them either. Says so as one JSON
object a line, and lets go when it ends.
"""

import fcntl
import json
import os
import signal
import sqlite3
import sys
import time

# Of SQLite's write-ahead log: the locks of writers, checkpoints, recovery and readers are these bytes of its index.
FIRST_LOCK, LOCKS = 120, 8

what, *files = sys.argv[1:]
held = []
for file in files:
    if what == "changes":
        connection = sqlite3.connect(file, timeout=60, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        held.append(connection)
    else:
        descriptor = os.open(file + "-shm", os.O_RDWR)
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCKS, FIRST_LOCK, os.SEEK_SET)
                break
            except OSError:
                # Somebody reads or writes just now.
                time.sleep(0.001)
        held.append(descriptor)
print(json.dumps({"event": "held"}), flush=True)
signal.pause()
