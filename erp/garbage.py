"""How the processes that carry out commands collect garbage."""

import gc


def collect_rarely() -> None:
    """To be called once all is imported and made.

    What a command makes is freed by reference counts; the usual search for cycles took a seventh more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
