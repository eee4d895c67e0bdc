//! How often charms ran and how long that took. Owns counting; it must not know what a run meant.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Labels of one series.
pub(crate) type Labels = Vec<(String, String)>;

/// Runs since the agent started. A clone counts the same.
#[derive(Debug, Clone)]
pub(crate) struct HookCounts {
    /// By `result`: `done` or `failed`.
    pub runs: Family<Labels, Counter>,
    /// Seconds that runs took.
    pub seconds: Histogram,
}

impl Default for HookCounts {
    fn default() -> Self {
        let runs = Family::default();
        for result in ["done", "failed"] {
            let _: &Counter = &runs.get_or_create(&vec![("result".to_owned(), result.to_owned())]);
        }
        // From a millisecond to half a minute.
        Self { runs, seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)) }
    }
}

impl HookCounts {
    /// Counts one.
    pub(crate) fn ran(&self, done: bool, took: Duration) {
        let result = if done { "done" } else { "failed" };
        self.runs.get_or_create(&vec![("result".to_owned(), result.to_owned())]).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
