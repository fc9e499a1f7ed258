"""The program that runs on the gateway: measure, judge, decide, report. The data's way is in README.md."""

__version__ = "0.1.0"
