"""The method in pure Python, no tensors: where the full steps stand, how features are forecast, and how
much of the newer anchor a reflected step takes. Everything is a small function of step indices."""
