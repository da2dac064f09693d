"""What `erp up` says when it serves: the address, a token, and four lines to paste."""

import datetime as dt
import json

from erp.settings import Settings
from erp.tokens import issue_token

TOKEN_TTL_S = 24 * 3600

# Two leaves of the standard chart.
RECEIVABLES = "1122"
REVENUE = "6001"


def banner(settings: Settings, tenant: str) -> str:
    """The text; its curl lines work as they are, in any shell, for a day."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.http.host, settings.http.host)  # noqa: S104
    base = f"http://{host}:{settings.http.port}"
    token = issue_token(settings, tenant=tenant, user="demo", roles=("admin",), ttl_s=TOKEN_TTL_S)
    bearer = '-H "Authorization: Bearer $TOKEN"'
    today = dt.datetime.now(dt.UTC).date().isoformat()
    entry = {
        "posting_date": today,
        "currency": "EUR",
        "memo": "My first sale",
        "lines": [{"account": RECEIVABLES, "debit": "1130.00"}, {"account": REVENUE, "credit": "1130.00"}],
    }
    as_json = f"-H 'Content-Type: application/json' -d '{json.dumps(entry)}'"
    return f"""
KILLER ERP serves on {base}   (API documentation: {base}/docs)
Company {tenant!r}, user 'demo', role admin. Ctrl-C stops everything.

Try it, in another shell (the token is good for a day):

TOKEN={token}

curl -sw '\\n' {base}/v1/finance/accounts {bearer}
curl -sw '\\n' {base}/v1/finance/journal-entries {bearer} {as_json}
curl -sw '\\n' '{base}/v1/finance/trial-balance?as_of={today}' {bearer}
curl -sw '\\n' {base}/health/ready
"""
