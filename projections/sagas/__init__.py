"""Sagas, as they are asked about: one table of what happened to them, and the list of sagas as a query over
it.
"""

from typing import Final

from projections.declaration import ProjectionQuery
from projections.sagas.listed import sagas
from projections.sagas.tables import EVENTS, SAGAS_PROJECTIONS

__all__ = ["LISTED_SAGAS", "SAGAS_PROJECTIONS", "SAGAS_QUERIES"]

LISTED_SAGAS: Final = ProjectionQuery("sagas.sagas", (EVENTS,), sagas)

SAGAS_QUERIES: Final = (LISTED_SAGAS,)
