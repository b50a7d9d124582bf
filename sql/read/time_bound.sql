-- A bound of time: a text or a date without a time of day is the whole day. One type and no overloads, so that a call by
-- names is never ambiguous, and gateways that find functions by their arguments' names find one.
CREATE TYPE immutable.day_or_time;
CREATE FUNCTION immutable.day_or_time_in(cstring)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_in';
CREATE FUNCTION immutable.day_or_time_out(immutable.day_or_time)
RETURNS cstring LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_out';
CREATE TYPE immutable.day_or_time (
  INPUT = immutable.day_or_time_in, OUTPUT = immutable.day_or_time_out, INTERNALLENGTH = 16, ALIGNMENT = double);
COMMENT ON TYPE immutable.day_or_time IS
  'A bound of time: whatever timestamptz takes, and a text or date without a time of day means the whole day in the session''s zone. date, timestamptz and timestamp become one by themselves';
COMMENT ON FUNCTION immutable.day_or_time_in(cstring) IS 'Input of immutable.day_or_time. Raises 22007 and 22008 as timestamptz does';
COMMENT ON FUNCTION immutable.day_or_time_out(immutable.day_or_time) IS 'Output of immutable.day_or_time: a date, or a timestamptz';
CREATE FUNCTION immutable.day_or_time(date)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_date';
COMMENT ON FUNCTION immutable.day_or_time(date) IS 'The whole day, in the session''s zone. Raises 22008 for one that timestamptz does not have';
CREATE FUNCTION immutable.day_or_time(timestamptz)
RETURNS immutable.day_or_time LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_timestamptz';
COMMENT ON FUNCTION immutable.day_or_time(timestamptz) IS 'The time as a bound';
CREATE FUNCTION immutable.day_or_time(timestamp)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_timestamp';
COMMENT ON FUNCTION immutable.day_or_time(timestamp) IS 'The time in the session''s zone as a bound';
CREATE CAST (date AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(date) AS IMPLICIT;
CREATE CAST (timestamptz AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(timestamptz) AS IMPLICIT;
CREATE CAST (timestamp AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(timestamp) AS IMPLICIT;
