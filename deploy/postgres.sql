-- Roles and database on a Postgres of your own, once, as its superuser:
--
--     psql -v owner_password=… -v app_password=… -v reader_password=… -v relay_password=… \
--         -v worker_password=… -v saga_password=… -f deploy/postgres.sql
--
-- Then `erp migrate` with the owner's URL. docs/how-to/own-postgres.md says who needs which role.

\set ON_ERROR_STOP on

CREATE ROLE erp_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE erp_app LOGIN PASSWORD :'app_password';
CREATE ROLE erp_reader LOGIN PASSWORD :'reader_password';
CREATE ROLE erp_relay LOGIN PASSWORD :'relay_password';
CREATE ROLE erp_worker LOGIN PASSWORD :'worker_password';
CREATE ROLE erp_saga LOGIN PASSWORD :'saga_password';
-- A group: auditors have logins of their own.
CREATE ROLE erp_auditor NOLOGIN;

-- Built-in collation: order and digests are the same on every machine.
CREATE DATABASE erp OWNER erp_owner
    ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' TEMPLATE template0;
REVOKE ALL ON DATABASE erp FROM PUBLIC;
GRANT CONNECT ON DATABASE erp TO erp_app, erp_reader, erp_relay, erp_worker, erp_saga, erp_auditor;
