//! Action schemas: which actions a log or a tenant takes, and what their metadata looks like.
