"""Who may feed the watchdog: nobody, until every task has shown that it is alive.

A task that hangs, or quietly ended, stops the feeding, and the watchdog restarts the node. Times are whole seconds that
never go back.
"""


class Supervisor:
    def __init__(self):
        self._names = []
        self._deadlines_s = []
        self._seen = []

    def register(self, name: str, deadline_s: int, now: int) -> int:
        """Returns the task's number, for `check_in`."""
        self._names.append(name)
        self._deadlines_s.append(deadline_s)
        self._seen.append(now)
        return len(self._names) - 1

    def check_in(self, task: int, now: int) -> None:
        self._seen[task] = now

    def late(self, now: int):
        """Name of a task that has not checked in within its deadline; None when all is well."""
        for i in range(len(self._names)):
            if now - self._seen[i] > self._deadlines_s[i]:
                return self._names[i]
        return None
