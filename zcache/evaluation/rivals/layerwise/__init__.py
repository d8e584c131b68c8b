"""SmoothCache and Learning-to-Cache, the paper's layer-wise comparators, here for its tables only and
without reflection.

`plans` says which kind of layer is computed at which step of SmoothCache, `router` which layer at which
step of L2C, `layers` computes just those in the transformer's own blocks, `on_pipeline` puts either of
them on a pipeline. Written from the published descriptions; no code is taken over.
"""
