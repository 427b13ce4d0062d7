"""The learning rate, step by step."""

import math


class Schedule:
    """The learning rate as a share of its maximum, for each optimisation step.

    Parameters
    ----------
    kind : {"onecycle", "cosine", "constant"}
    total_steps : int

    Attributes
    ----------
    decay : tuple (start, n_steps, share) or None
        The end that `finish` has set.

    Notes
    -----
    "onecycle" rises from 1/25 over the first 30 % of the steps and then falls to nearly 0
    (Smith & Topin, *Super-Convergence*, 2018); "cosine" falls from the start.
    """

    def __init__(self, kind: str, total_steps: int):
        self.kind = kind
        self.total_steps = total_steps
        self.decay: tuple[int, int, float] | None = None

    def __call__(self, step: int) -> float:
        if self.decay is not None:
            start, n_steps, share = self.decay
            return share * _half_cosine((step - start) / n_steps)
        if self.kind == "constant":
            return 1.0
        progress = step / self.total_steps
        if self.kind == "cosine":
            return _half_cosine(progress)
        if progress < 0.3:
            return 1 - (1 - 1 / 25) * _half_cosine(progress / 0.3)
        return _half_cosine((progress - 0.3) / 0.7)

    def finish(self, step: int, n_steps: int) -> None:
        """Fall from the rate at `step` to zero within the next `n_steps`."""
        self.decay = (step, n_steps, self(step))


def _half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
