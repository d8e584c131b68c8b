"""The zig-zag on an unmodified diffusers pipeline: what is intercepted, what is kept, how to go back.

`enable` arms a pipeline, `run` decides about every call and step of one run, `reflection` goes back over
a window, `bindings` and `adapters` say where a transformer's features are.
"""
