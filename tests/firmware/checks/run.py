"""Runs every test_ function of the modules named on the command line; plain asserts; for any Python."""

import sys

for name in sys.argv[1:]:
    module = __import__(name)
    for function in sorted(dir(module)):
        if function.startswith("test_"):
            getattr(module, function)()
            print("ok", name, function)
