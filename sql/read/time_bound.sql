-- Bounds of time: a text or a date without a time of day is the whole day. One type, and not
-- overloads, keeps calls with named arguments unambiguous, and lets gateways that find functions by
-- the names of their arguments find one.
CREATE TYPE immutable.day_or_time;
CREATE FUNCTION immutable.day_or_time_in(cstring)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_in';
CREATE FUNCTION immutable.day_or_time_out(immutable.day_or_time)
RETURNS cstring LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_out';
CREATE TYPE immutable.day_or_time (
  INPUT = immutable.day_or_time_in, OUTPUT = immutable.day_or_time_out, INTERNALLENGTH = 16, ALIGNMENT = double);
COMMENT ON TYPE immutable.day_or_time IS
  'A bound of time: a day as a whole, or a point in time. Its input is what timestamptz takes; a date '
  'without a time of day is the whole day in the session''s time zone. Values of date, timestamptz and '
  'timestamp are cast to it implicitly.';
COMMENT ON FUNCTION immutable.day_or_time_in(cstring) IS
'Input function of immutable.day_or_time.
Raises 22007 and 22008 as the input of timestamptz does.';
COMMENT ON FUNCTION immutable.day_or_time_out(immutable.day_or_time) IS
'Output function of immutable.day_or_time: a date, or a timestamptz.
Raises no error.';
CREATE FUNCTION immutable.day_or_time(date)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_date';
COMMENT ON FUNCTION immutable.day_or_time(date) IS
'Returns the whole day, in the session''s time zone, as a bound.
Raises 22008 for a day that timestamptz does not have.';
CREATE FUNCTION immutable.day_or_time(timestamptz)
RETURNS immutable.day_or_time LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_timestamptz';
COMMENT ON FUNCTION immutable.day_or_time(timestamptz) IS
'Returns the point in time as a bound.
Raises no error.';
CREATE FUNCTION immutable.day_or_time(timestamp)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_timestamp';
COMMENT ON FUNCTION immutable.day_or_time(timestamp) IS
'Returns the point in time, in the session''s time zone, as a bound.
Raises 22008 for a time that timestamptz does not have.';
CREATE CAST (date AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(date) AS IMPLICIT;
CREATE CAST (timestamptz AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(timestamptz) AS IMPLICIT;
CREATE CAST (timestamp AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(timestamp) AS IMPLICIT;
COMMENT ON CAST (date AS immutable.day_or_time) IS 'The whole day, in the session''s time zone';
COMMENT ON CAST (timestamptz AS immutable.day_or_time) IS 'The point in time';
COMMENT ON CAST (timestamp AS immutable.day_or_time) IS 'The point in time, in the session''s time zone';
