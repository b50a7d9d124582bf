//! The feed beneath alerts and deliveries: each event once, from one snapshot to the next, whatever other
//! transactions of the cluster wait for.
