"""Runs a command that must not outlive the process that asked for it.

A separate program (``python guard.py FOLDER COMMAND...``). It imports only the standard library,
so that it starts in milliseconds. It reads orders from its standard input, the lifeline:

``stop``
    ask the command to end, and kill it if it does not;
``kill``
    kill the command at once;
end of input
    the process at the other end has died, in whatever way: as ``stop``, and remove FOLDER (unless
    it is empty), because nobody else will.

The kernel closes a pipe when its holder dies, even of SIGKILL, on every POSIX system and whichever
thread started the command. Linux' parent-death signal would fire when that thread ends.
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
    # The thread inherits the mask. If the kernel gave it the signal, wait() below would sleep on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey, args=(child, abandoned), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
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
