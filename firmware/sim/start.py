"""What a board's boot ROM does: boot.py, then main.py, out of the flash that is the working folder."""

import sys

for name in ("boot.py", "main.py"):
    try:
        with open(name) as file:
            exec(compile(file.read(), name, "exec"), {"__name__": "__main__"})
    except OSError as error:
        print(name, "missing:", error)
        sys.exit(1)
