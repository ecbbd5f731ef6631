"""A long mixed load on a real server, with bad inputs and callers who leave; and serving beside a training.

`make soak ARGS="--seconds 600"`; the last line printed is one JSON object. What is asked for stands in `requests`, who asks
in `load`, what becomes of the server's process meanwhile in `watch`, and how long answers take beside a training in `beside`.
"""
