"""What a check of a picture or a clip found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Which clauses of the caption fail, in words; none when it is obeyed."""

    failures: tuple[str, ...]

    @property
    def obeyed(self) -> bool:
        return not self.failures

    def __bool__(self) -> bool:
        return self.obeyed
