CREATE SCHEMA immutable;
