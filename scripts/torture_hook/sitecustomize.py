"""Loaded by every Python that ``scripts/torture.py`` starts: counts what a process writes, and hurts it on order.

``TORTURE`` holds the order as JSON. The hook acts in the process that was started (not in its workers), where Python is
about to touch a file below ``under``: it counts these events, writes a line for each to ``log``, and at event ``at``

- ``kill``: sends itself ``signal``, at once or ``delay`` seconds later, while the write goes on;
- ``raise``: lets this call, and each after it with the same kind of event, fail with ``errno``;
- ``clock``: moves ``time.time`` by ``jump`` seconds from then on.

``slow`` seconds are slept at each event. What C++ writes by itself (the bytes of ``torch.save``, SQLite) is not seen:
a kill with a delay, a limit of the file size and a full file system get there.
"""

import json
import os
import sys
import threading
import time
from typing import Any

os.cpu_count = lambda: 1  # nnU-Net takes a thread and a worker for each core that it counts
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "sqlite3.connect")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Hook:
    """The audit hook of one process."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order, self.owner, self.count = order, os.getpid(), 0
        self.log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.real_time = time.time

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at an audit event of Python."""
        if event not in EVENTS or os.getpid() != self.owner or not self._is_write(event, arguments):
            return
        self.count += 1
        os.write(self.log, f"{self.count} {self.real_time():.3f} {event} {arguments[0]}\n".encode())
        if self.order.get("slow"):
            time.sleep(self.order["slow"])
        if self.count >= self.order.get("at", float("inf")):
            self._act(event, arguments)

    def _is_write(self, event: str, arguments: tuple[Any, ...]) -> bool:
        path = arguments[0]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, int) or not str(path).startswith(self.order["under"]):
            return False
        return event != "open" or bool((arguments[2] or 0) & WRITING)

    def _act(self, event: str, arguments: tuple[Any, ...]) -> None:
        what, first = self.order["do"], self.count == self.order["at"]
        if first:
            os.write(self.log, b"acts\n")
        if what == "raise":
            raise OSError(self.order["errno"], os.strerror(self.order["errno"]), str(arguments[0]))
        if what == "clock" and first:
            time.time = lambda: self.real_time() + self.order["jump"]
        if what == "kill" and first:
            if self.order["delay"]:
                threading.Timer(self.order["delay"], os.kill, (self.owner, self.order["signal"])).start()
            else:
                os.kill(self.owner, self.order["signal"])


if "TORTURE" in os.environ and "TORTURE_OWNER" not in os.environ:
    os.environ["TORTURE_OWNER"] = str(os.getpid())
    sys.addaudithook(Hook(json.loads(os.environ["TORTURE"])))
