\echo Use "ALTER EXTENSION immutable UPDATE" to load this file. \quit
