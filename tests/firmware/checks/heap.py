"""`no_heap(function, *arguments)`: call it with the heap locked, so that under MicroPython any allocation fails the check."""

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython has no such lock: there the call is only a call

    def heap_lock():
        pass

    heap_unlock = heap_lock


def no_heap(function, *arguments):
    n = len(arguments)
    first, second, third, fourth = (arguments + (None, None, None, None))[:4]
    heap_lock()
    try:  # spelt out: a call with a star is itself an allocation
        if n == 0:
            return function()
        if n == 1:
            return function(first)
        if n == 2:
            return function(first, second)
        if n == 3:
            return function(first, second, third)
        return function(first, second, third, fourth)
    finally:
        heap_unlock()
