"""The exceptions zcache raises; each message names the value, the limit and the cure."""


class ZCacheError(Exception):
    """Base of everything zcache raises on purpose."""


class ConfigError(ZCacheError, ValueError):
    """A setting is outside its limits."""


class UnsupportedPipelineError(ZCacheError, TypeError):
    """The pipeline, its denoiser or its scheduler cannot be cached as asked."""


class AlreadyEnabledError(ZCacheError, RuntimeError):
    """The pipeline already has a cache, ours or another library's."""


class NotEnabledError(ZCacheError, RuntimeError):
    """`disable` was called on a pipeline that has no zcache."""


class CheckpointError(ZCacheError, OSError):
    """A checkpoint is missing, gated, corrupt or too large for this machine."""


class ProfileError(ZCacheError, ValueError):
    """A profile cannot be read, or was found on another kind of model."""
