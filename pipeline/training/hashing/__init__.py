"""Learning binary codes on the maps of a frozen trunk: the methods of seeds 002 and 003, a file
each, and what they are measured by.

`methods.py` is the table of them, the file to read first.
"""
