-- Two years of a company's books, written straight into the log: for logs larger than commands could make within a bench.
-- Nobody appends or reads meanwhile. Afterwards the log is one that the append function could have written, and `erp verify`
-- finds nothing; only there is no command that was answered with it.

CREATE SCHEMA bench;

-- Always the same throw for the n-th entry, so that any part of the history can be written by itself.
CREATE FUNCTION bench.dice(n bigint, throw bigint, sides bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (hashint8extended(n, throw) & 4611686018427387903) % sides
$$;

-- Days go by with the entries, evenly; one entry of ten is late, by up to sixty days.
CREATE FUNCTION bench.posting_date(n bigint, entries bigint, first_day date) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(first_day, first_day + (n * 730 / entries)::int
                    - CASE WHEN bench.dice(n, 1, 10) = 0 THEN 1 + bench.dice(n, 2, 60)::int ELSE 0 END)
$$;

CREATE FUNCTION bench.series(posting_date date) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT 'general/' || date_part('year', posting_date)
$$;

-- In the manner of UUIDv7: near in time is near in the index.
CREATE FUNCTION bench.uuid(n bigint, what text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(what || n), 1, 3)
            || '8' || substr(md5(what || n), 4, 15))::uuid
$$;

CREATE FUNCTION bench.cents(n bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT n / 100 || '.' || lpad((n % 100)::text, 2, '0')
$$;

-- Before which entry each series stands at which number, at every `page`-th entry: so pages can be written in any order.
CREATE TABLE bench.pages (
    first bigint NOT NULL,
    series text NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (first, series)
);
CREATE PROCEDURE bench.plan(entries bigint, page bigint, first_day date) LANGUAGE sql AS $$
    INSERT INTO bench.pages
    SELECT first, series, coalesce(sum(count) OVER (PARTITION BY series ORDER BY first
                                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
      FROM (SELECT n / page * page AS first, bench.series(bench.posting_date(n, entries, first_day)) AS series, count(*)
              FROM generate_series(0, entries - 1) AS n GROUP BY 1, 2) AS counted
$$;

-- The page of entries that begins with the entry `page_first`. Entry 0 would follow on position `after` and on the tenant's
-- event `seq_after`, and would be recorded at `began`.
CREATE PROCEDURE bench.write_page(
    of_tenant uuid, accounts text[], page_first bigint, page bigint, entries bigint, first_day date,
    after bigint, seq_after bigint, began timestamptz, metadata bytea
) LANGUAGE sql AS $$
    INSERT INTO erp.events
    SELECT (event).position, (event).tenant_seq, (event).version, (event).number, (event).recorded_at, (event).event_id,
           (event).tenant, (event).stream_id, (event).schema_version, (event).stream_type, (event).type, (event).series,
           (event).encoding, (event).data, (event).metadata, erp.leaf_hash(event)
      FROM (
        SELECT (after + n + 1, seq_after + n + 1, 1, number + nth, began + n * interval '1 microsecond',
                bench.uuid(n, 'event'), of_tenant, bench.uuid(n, 'entry'), 1, 'finance.journal_entry',
                'finance.journal_entry.posted', series, 'json',
                convert_to(format(
                    '{"journal":"general","posting_date":"%1$s","currency":"EUR","memo":"Invoice","reference":"INV-%2$s",'
                    '"lines":[{"account":"%3$s","debit":"%5$s","credit":null,"memo":"","dimensions":{},"party":null},'
                    '{"account":"%4$s","debit":null,"credit":"%5$s","memo":"","dimensions":{},"party":null}],'
                    '"reverses":null,"drafted_by":"bench"}',
                    day, lpad(n::text, 9, '0'), accounts[1 + debit],
                    accounts[1 + (debit + 1 + bench.dice(n, 4, cardinality(accounts) - 1)) % cardinality(accounts)],
                    bench.cents(1 + bench.dice(n, 5, 1000000))), 'UTF8'),
                metadata, NULL)::erp.events AS event
          FROM (
            SELECT n, day, dated.series, number, bench.dice(n, 3, cardinality(accounts)) AS debit,
                   row_number() OVER (PARTITION BY dated.series ORDER BY n) AS nth
              FROM (SELECT n, day, bench.series(day) AS series
                      FROM generate_series(page_first, page_first + page - 1) AS n,
                           LATERAL (SELECT bench.posting_date(n, entries, first_day) AS day) AS d) AS dated
              JOIN bench.pages p ON p.first = page_first AND p.series = dated.series
          ) AS numbered
         OFFSET 0  -- made once, not once for each of its columns
      ) AS made
     ORDER BY (event).position
$$;
