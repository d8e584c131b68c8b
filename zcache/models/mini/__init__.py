"""The embedded models' small world: captioned scenes of coloured shapes, and a check of pictures.

`scenes` draws, `check` judges; neither imports torch.
"""
