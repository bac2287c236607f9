"""Runs a command that must not outlive the process that wanted it.

A program of its own (``python guard.py FOLDER COMMAND...``) that imports nothing but the standard
library, so that it starts in milliseconds. It reads its standard input, the lifeline:

``stop``
    the command is asked to end, and killed if it does not;
``kill``
    the command is killed at once;
end of input
    the one who held the other end is gone, by whatever death: as ``stop``, and FOLDER (if it is
    not empty) is removed, because nobody else will.

A pipe is closed by the kernel when its holder dies, even of SIGKILL, on every POSIX system and
whichever thread started the command; Linux' parent-death signal would fire when that thread ends.
"""

import shutil
import signal
import subprocess
import sys
import threading
from types import FrameType

STOP_SECONDS = 15.0


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    folder, command = arguments[0], arguments[1:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def ask_to_end(_signal: int, _frame: FrameType | None) -> None:
        child.terminate()

    signal.signal(signal.SIGTERM, ask_to_end)
    abandoned = threading.Event()
    threading.Thread(target=_obey, args=(child, abandoned), daemon=True).start()
    code = child.wait()
    if abandoned.is_set() and folder:
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _obey(child: "subprocess.Popen[bytes]", abandoned: threading.Event) -> None:
    order = sys.stdin.readline().strip()
    if not order:
        abandoned.set()
    if order == "kill":
        child.kill()
        return
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
