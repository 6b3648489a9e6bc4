"""The loop that both pulling agents share: ask for a task, work on it, report.

Standard library alone. It holds one task at a time. After SIGTERM or SIGINT it takes nothing more, finishes
and reports what it holds, and ends with exit code 0.
"""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone

HEARTBEAT_SECONDS = 30
# The gateway holds a question open while there is no task; a backend that does not is asked once a second.
HOLD_SECONDS = 20
PAUSE_SECONDS = 1
# A finished result is worth more patience than anything else here: it has cost a generation.
REPORT_SECONDS = 120


class Stopped(Exception):
    """Raised by the signal handler, and only where nothing would be lost by it."""


class Agent:
    def __init__(self, work):
        """`work` turns the text of a prompt into the text of an answer, or raises."""
        self.work = work
        self.name = os.environ.get("AGENT_NAME", "python")
        self.type = os.environ.get("AGENT_TYPE", "general")
        # Its path carries who we are, so what follows is appended and never joined with urljoin.
        self.backend = os.environ.get("BACKEND_URL", "http://127.0.0.1:8000").rstrip("/")
        self.status = "initializing"
        self.processed = self.failed = 0
        self.stopping = self.interruptible = False

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        threading.Thread(target=self.keep_beating, daemon=True).start()
        try:
            self.register()
            while not self.stopping:
                if task := self.next():
                    self.report(task, self.outcome(task))
        except Stopped:
            pass
        self.interruptible = False
        self.status = "stopped"
        self.beat()

    def stop(self, _signal, _frame):
        self.stopping, self.status = True, "shutting_down"
        if self.interruptible:
            # A task that was just being handed to us goes back to the queue when we end.
            raise Stopped

    def register(self):
        while not self.stopping:
            body = {"agent_type": self.type, "capabilities": ["text"], "status": "registering"}
            if self.tell("api/agents/register", body) == 200:
                self.status = "active"
                return
            self.rest(PAUSE_SECONDS)

    def next(self):
        """The next task, or None."""
        asked = time.monotonic()
        request = urllib.request.Request(f"{self.backend}/api/tasks/next/{self.type}")
        request.add_header("Prefer", f"wait={HOLD_SECONDS}")
        self.interruptible = True
        try:
            if self.stopping:
                raise Stopped
            with urllib.request.urlopen(request, timeout=HOLD_SECONDS + 10) as answer:
                body = answer.read()
            if body.strip():
                return json.loads(body)
        except OSError as error:  # also every status from 400 on
            log("no task", error=str(error))
        finally:
            self.interruptible = False
        self.rest(asked + PAUSE_SECONDS - time.monotonic())
        return None

    def outcome(self, task):
        self.status = "busy"
        try:
            prompt = task.get("prompt") or json.dumps(task["payload"])
            answer = self.work(prompt)
            if not answer.strip():
                raise ValueError("the model answered nothing")
            return {"status": "completed", "result": answer}
        except Exception as error:  # whatever it is: a task that failed is reported, never dropped
            log("task failed", task=task["id"], error=repr(error))
            return {"status": "failed", "error": repr(error)}

    def report(self, task, outcome):
        give_up = time.monotonic() + REPORT_SECONDS
        pause = 0.1
        while True:
            # Refused for good: somebody else holds the task, or nobody knows it.
            status = self.tell("api/tasks/complete", {"task_id": task["id"], **outcome})
            if status in (200, 400, 404, 409, 413) or time.monotonic() > give_up:
                break
            time.sleep(pause)
            pause = min(2 * pause, 5)
        log("reported", task=task["id"], outcome=outcome["status"], answer=status)
        if outcome["status"] == "completed":
            self.processed += 1
        else:
            self.failed += 1
        if not self.stopping:
            self.status = "active"

    def keep_beating(self):
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            self.beat()

    def beat(self):
        body = {"status": self.status, "tasks_processed": self.processed, "tasks_failed": self.failed}
        self.tell("api/agents/heartbeat", body, timeout=5)

    def tell(self, path, body, timeout=10):
        """Posts to the backend; the status of the answer, or 0 where there was none."""
        body = {"agent_name": self.name, "timestamp": datetime.now(timezone.utc).isoformat(), **body}
        request = urllib.request.Request(
            f"{self.backend}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as refusal:
            return refusal.code
        except OSError as error:
            log("backend not reached", path=path, error=str(error))
            return 0

    def rest(self, seconds):
        self.interruptible = True
        try:
            if self.stopping:
                raise Stopped
            time.sleep(max(seconds, 0))
        finally:
            self.interruptible = False


def log(what, **facts):
    print(json.dumps({"at": datetime.now(timezone.utc).isoformat(), "what": what, **facts}), flush=True)
