"""The null handler: `erp api` as it is, except that its bus answers at once.

    python -m bench.null_api api --port …

The same server in the same configuration, the same application, authentication, parsing, validation and
answer; only what lies behind `Bus.execute` is missing. So what it costs is what HTTP costs.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from commands.bus import Answer, Bus, Command, Context
from erp import bootstrap, cli
from erp.bootstrap import CommandSide
from erp.settings import Settings

_ANSWER: Final = Answer(
    id=UUID("01890000-0000-7000-8000-000000000000"),
    version=1,
    position=1,
    recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
)
_real_command_side = bootstrap.command_side


class NullBus(Bus):
    """Takes every command for done."""

    async def execute(self, command: Command, context: Context) -> Answer:  # noqa: ARG002 - nothing is done with it
        """Always the same answer."""
        return _ANSWER


def _command_side(settings: Settings) -> CommandSide:
    real = _real_command_side(settings)
    return CommandSide(real.store, NullBus(real.store, {}, new_id=lambda: _ANSWER.id), real.vault)


if __name__ == "__main__":
    bootstrap.command_side = _command_side
    cli.main()
