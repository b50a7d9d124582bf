-- What a scheduler calls each minute.

CREATE PROCEDURE immutable.run_maintenance(INOUT did jsonb DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_run_maintenance';
COMMENT ON PROCEDURE immutable.run_maintenance(jsonb) IS
'Does what a scheduler has to do each minute: checkpoint, alerts, exports, revocations and use of API keys.
Each step has transactions of its own and takes at most about ten seconds; what is left is done by the
next call. A step that fails is reported in the answer and as a WARNING, and the others go on.
- did: pass NULL; returns what each step did, as a JSON object.
Raises 25001 in a transaction block and above READ COMMITTED.';
