"""When a program of ours must not go on by itself."""


class Refusal(Exception):
    """Going on needs a person's decision; the text is one line: what is wrong, what can be done."""
