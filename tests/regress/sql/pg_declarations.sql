-- How SQL declares the functions that are written in Rust. Their code trusts these types: it reads an argument as what is
-- declared here, and calls a strict function's body without asking for NULL. A changed line needs a look at the Rust side.
\pset format unaligned
\pset footer off
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
RESET client_min_messages;

SELECT p.proname AS function, p.prosrc AS symbol, pg_catalog.oidvectortypes(p.proargtypes) AS arguments,
       CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || format_type(p.prorettype, NULL) AS returns,
       p.proisstrict AS strict
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
WHERE x.extname = 'immutable' AND l.lanname = 'c'
ORDER BY p.proname COLLATE "C", p.pronargs, pg_catalog.oidvectortypes(p.proargtypes) COLLATE "C";

-- The columns of those that return rows: their code makes rows of just these.
SELECT p.proname AS function, string_agg(a.name || ' ' || format_type(a.type, NULL), ', ' ORDER BY a.position) AS columns
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
CROSS JOIN LATERAL unnest(p.proallargtypes, p.proargmodes, p.proargnames) WITH ORDINALITY AS a (type, mode, name, position)
WHERE x.extname = 'immutable' AND l.lanname = 'c' AND a.mode IN ('o', 'b', 't')
GROUP BY p.oid, p.proname
ORDER BY p.proname COLLATE "C", p.pronargs;

-- Aggregates: the state that their functions hand on.
SELECT g.aggfnoid::regprocedure AS aggregate, format_type(g.aggtranstype, NULL) AS state, g.aggtransfn AS transition,
       g.aggfinalfn AS final, g.aggcombinefn AS combine, g.aggserialfn AS serialize, g.aggdeserialfn AS deserialize
FROM pg_aggregate g
JOIN pg_proc p ON p.oid = g.aggfnoid
WHERE p.pronamespace = 'immutable'::regnamespace
ORDER BY p.proname COLLATE "C", p.pronargs;

-- No other function of the schema is in C.
SELECT p.oid::regprocedure AS "not of the extension"
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'immutable'::regnamespace AND l.lanname NOT IN ('sql', 'plpgsql', 'internal')
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'immutable'
                  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');
