//! How many requests a key may make in a minute, if the operator says so.

use super::problem::Problem;
use axum::http::StatusCode;
use std::collections::hash_map::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many keys are counted at a time. Beyond that the counts begin anew, so that made-up keys cannot fill the memory.
const KEYS: usize = 100_000;

/// Counts the requests of each key or token in the current minute of the program.
pub(crate) struct Rates {
    limit: Option<u32>,
    began: Instant,
    hasher: RandomState,
    counts: Mutex<(u64, HashMap<u64, u32>)>,
}

impl Rates {
    /// `limit` requests a minute; None for any number.
    pub(crate) fn new(limit: Option<u32>) -> Rates {
        Rates { limit, began: Instant::now(), hasher: RandomState::new(), counts: Mutex::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 with the seconds until the next minute.
    pub(crate) fn admit(&self, proof: &str) -> Result<(), Problem> {
        let Some(limit) = self.limit else { return Ok(()) };
        let seconds = self.began.elapsed().as_secs();
        let key = self.hasher.hash_one(proof);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.0 != seconds / 60 || counts.1.len() >= KEYS {
            *counts = (seconds / 60, HashMap::new());
        }
        let count = counts.1.entry(key).or_default();
        if *count >= limit {
            let sentence = format!("This API key may make {limit} requests in a minute.");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", sentence);
            let left = u32::try_from(60 - seconds % 60).unwrap_or(60);
            return Err(Problem { retry_after: Some(left), ..problem });
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_count() {
        let rates = Rates::new(Some(2));
        assert!(rates.admit("a").is_ok() && rates.admit("a").is_ok() && rates.admit("b").is_ok());
        let refused = rates.admit("a").unwrap_err();
        assert_eq!(refused.status.as_u16(), 429);
        assert!(refused.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)));
        assert!((0..9).all(|_| Rates::new(None).admit("a").is_ok()));
    }
}
