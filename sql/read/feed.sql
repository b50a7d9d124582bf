-- The feed beneath alerts and deliveries.

CREATE FUNCTION immutable.feed(mark text DEFAULT NULL, "limit" integer DEFAULT 1000)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_feed';
COMMENT ON FUNCTION immutable.feed(text, integer) IS
'Returns the next events of all tenants, each of them once, for a program that delivers them.
Unlike immutable.changes(), it does not wait for older transactions: what they record comes when they
commit. Within a lane, events come in the order of seq. It works on a primary alone, and no role but
the owner may call it.
- mark: the mark that came with the last events; NULL is behind everything that is visible now, and an
  empty text is before the first event.
- limit: most events of the answer, from 1 to 10,000.
Returns {"data", "mark", "has_more"}: the events, as immutable.get_events() shows them; the mark for
the next call; and whether there were more when the reading began.
Raises 22023 for another limit, XX001 for a mark that is damaged, 55000 for one that is not of this
server''s past, 25006 on a standby, and 0A000 for a distributed log.';
