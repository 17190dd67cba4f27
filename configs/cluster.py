"""Where the parts of validation, sampling and scoring run side by side."""

from configs.section import Section, described


class ClusterSection(Section):
    """Processes that validate, draw and score parts side by side; what comes out is the same."""

    workers: int = described(
        0,
        "Processes, 1 to 1024, as a Dask cluster of this machine. 1: everything in the run's own process.",
        default=1,
        ge=1,
        le=1024,
    )
    address: str | None = described(
        1,
        "Use this Dask cluster instead: its scheduler's address, tcp://host:8786 or tls://host:8786.",
        default=None,
        pattern=r"^(tcp|tls)://[^@/\s]+:\d+$",
    )

    @property
    def spreads(self) -> bool:
        """Whether there are other processes than the run's own."""
        return self.workers > 1 or self.address is not None
