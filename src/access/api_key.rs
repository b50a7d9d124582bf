//! API keys: they are made, looked up and revoked here.
