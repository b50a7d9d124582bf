//! When a delivery that failed is tried again.

use std::time::Duration;

/// The pauses after the first failure in a row, the second, and so on. The last one is repeated: a stream
/// is never given up.
#[derive(Debug, Clone)]
pub(crate) struct Backoff(pub(crate) Vec<Duration>);

impl Backoff {
    /// The pause after so many failures before this one, a tenth longer or shorter, so that streams to
    /// the same receiver do not all come at once.
    pub(crate) fn pause(&self, failures: usize) -> Duration {
        let pause = self.0.get(failures).or(self.0.last()).copied().unwrap_or(Duration::from_secs(5));
        let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
        pause.mul_f64(0.9 + random / 5.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_the_last_is_repeated() {
        let backoff = Backoff(vec![Duration::from_secs(5), Duration::from_secs(300)]);
        for (failures, seconds) in [(0, 5.0), (1, 300.0), (2, 300.0), (1000, 300.0)] {
            let pause = backoff.pause(failures).as_secs_f64();
            assert!(pause >= seconds * 0.9 && pause <= seconds * 1.1 + 0.001, "{pause}");
        }
    }
}
