//! What the program counts, for Prometheus.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::LazyLock;
use std::time::Duration;

/// Bounds of latencies in seconds, from what a read takes to the deadline of a write.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0];

/// The figures of this process.
pub(crate) static FIGURES: LazyLock<Figures> = LazyLock::new(Figures::new);

/// All figures, and the registry that writes them.
pub(crate) struct Figures {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    database_errors: IntCounterVec,
    connections: IntGaugeVec,
}

impl Figures {
    /// # Panics
    /// If two figures have one name, which no input changes.
    fn new() -> Figures {
        let opts = |name: &str, help: &str| Opts::new(name, help);
        let counter = |name, help, labels: &[&str]| IntCounterVec::new(opts(name, help), labels).expect("a valid name");
        let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(opts(name, help), labels).expect("a valid name");
        let seconds =
            HistogramOpts::new("immutable_http_request_seconds", "How long requests took.").buckets(SECONDS.to_vec());
        let figures = Figures {
            registry: Registry::new(),
            requests: counter(
                "immutable_http_requests_total",
                "Requests that were answered, by route, method and status.",
                &["route", "method", "status"],
            ),
            seconds: HistogramVec::new(seconds, &["route", "method"]).expect("a valid name"),
            in_flight: IntGauge::with_opts(opts("immutable_http_requests_in_flight", "Requests that are being answered."))
                .expect("a valid name"),
            database_errors: counter(
                "immutable_database_errors_total",
                "Calls that failed, by SQLSTATE; connect, timeout and lost have none.",
                &["sqlstate"],
            ),
            connections: gauge(
                "immutable_database_connections",
                "Connections to PostgreSQL: the most there may be, those that are open, in use, and requests that wait for one.",
                &["state"],
            ),
        };
        let all: [Box<dyn prometheus::core::Collector>; 5] = [
            Box::new(figures.requests.clone()),
            Box::new(figures.seconds.clone()),
            Box::new(figures.in_flight.clone()),
            Box::new(figures.database_errors.clone()),
            Box::new(figures.connections.clone()),
        ];
        for figure in all {
            figures.registry.register(figure).expect("a name of its own");
        }
        figures
    }

    /// A request has begun, and has not ended before what this returns is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request was answered.
    pub(crate) fn answered(&self, route: &str, method: &str, status: &str, took: Duration) {
        self.requests.with_label_values(&[route, method, status]).inc();
        self.seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// A call of the database failed.
    pub(crate) fn failed(&self, sqlstate: &str) {
        self.database_errors.with_label_values(&[sqlstate]).inc();
    }

    /// All figures as Prometheus reads them. `connections` is what the pool says: most, open, in use, waiting.
    pub(crate) fn text(&self, connections: [usize; 4]) -> String {
        for (state, count) in ["max", "open", "in_use", "waiting"].into_iter().zip(connections) {
            self.connections.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut text = Vec::new();
        // Those of the deliveries are in the registry of the process.
        let all = [self.registry.gather(), prometheus::gather()].concat();
        let _ = TextEncoder::new().encode(&all, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// A request that is being answered.
pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
