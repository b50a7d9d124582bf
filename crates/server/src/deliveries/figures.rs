//! Figures of the deliveries, for Prometheus.

use super::queue::Stream;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

/// Counters and gauges, each by the stream's name.
#[derive(Clone)]
pub(crate) struct Figures {
    items: IntCounterVec,
    failures: IntCounterVec,
    refused: IntCounterVec,
    state: IntGaugeVec,
    dead_letters: IntGaugeVec,
}

impl Figures {
    /// Figures in Prometheus' own registry.
    ///
    /// # Errors
    /// A sentence, if a figure of the same name is there.
    pub(crate) fn new() -> Result<Figures, String> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["stream"]).map_err(|e| e.to_string())?;
            prometheus::register(Box::new(counter.clone())).map_err(|e| e.to_string())?;
            Ok::<_, String>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["stream"]).map_err(|e| e.to_string())?;
            prometheus::register(Box::new(gauge.clone())).map_err(|e| e.to_string())?;
            Ok::<_, String>(gauge)
        };
        Ok(Figures {
            items: counter("immutable_delivered_items_total", "Events and alerts that a receiver has accepted")?,
            failures: counter("immutable_delivery_failures_total", "Calls of a receiver that failed")?,
            refused: counter("immutable_delivery_refused_total", "Items that a receiver refused for good")?,
            state: gauge("immutable_stream_state", "0 for a stream that is active, 1 for paused, 2 for error")?,
            dead_letters: gauge("immutable_stream_dead_letters", "Dead letters of a stream")?,
        })
    }

    pub(crate) fn delivered(&self, stream: &str, items: usize) {
        self.items.with_label_values(&[stream]).inc_by(items as u64);
    }

    pub(crate) fn failed(&self, stream: &str) {
        self.failures.with_label_values(&[stream]).inc();
    }

    pub(crate) fn refused(&self, stream: &str) {
        self.refused.with_label_values(&[stream]).inc();
    }

    /// What the log says of the streams; streams that are gone have no figures.
    pub(crate) fn show(&self, streams: &[Stream]) {
        self.state.reset();
        self.dead_letters.reset();
        for stream in streams {
            let state = match stream.state.as_str() {
                "active" => 0,
                "paused" => 1,
                _ => 2,
            };
            self.state.with_label_values(&[&stream.name]).set(state);
            self.dead_letters.with_label_values(&[&stream.name]).set(stream.dead_letters);
        }
    }
}
