//! Evidence for those who do not trust the database: a Merkle tree over all events, checkpoints that
//! others cosign, and proofs.
