# A program that ends, for whatever reason, is started again by a reset; boot.py then holds the outputs safe.
import gc
import sys
import time

import machine

try:
    machine.WDT(timeout=8000)  # from here on, whatever hangs is ended
    import loader

    name, arguments = loader.choose()
    del loader
    gc.collect()
    program = __import__(name)
    gc.collect()
    program.node(*arguments).run()
except Exception as error:
    sys.print_exception(error)
time.sleep(1)  # a program that fails at once must leave room to interrupt it over USB
machine.reset()
