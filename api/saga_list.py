"""Sagas: the list of them out of the read side."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from api.report_routes import ReportParams, SearchRoute
from projections.sagas import LISTED_SAGAS
from projections.sagas.listed import ListedSaga, SagaListStatus

_PREFIX: Final = "sagas."


def _whole(name: str) -> str:
    return name if name.startswith(_PREFIX) else _PREFIX + name


class _SagasParams(ReportParams):
    type: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[a-z_]+(\.[a-z_]+)?$", max_length=100),
            AfterValidator(_whole),
        ]
        | None
    ) = Field(
        default=None, description="Only of this type, such as `sagas.order_to_cash` or `order_to_cash`."
    )
    status: SagaListStatus | None = None


SEARCHES: Final = (
    SearchRoute(
        path="/v1/sagas",
        permission="sagas.sagas:read",
        query=LISTED_SAGAS,
        params=_SagasParams,
        item=ListedSaga,
        kind="sagas.saga",
        file_name="sagas",
    ),
)
