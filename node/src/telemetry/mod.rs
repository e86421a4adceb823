//! Logs, metrics, and the admin port that shows them.

mod admin;
mod health;
mod mask;
mod writer;

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

pub use self::admin::{AdminError, AdminServer};
pub use self::health::Health;
pub use self::mask::Mask;
pub use self::writer::LogFlush;

use self::writer::LineWriter;
use crate::config::{Log, LogFormat};

/// Sends log lines to standard error, as text on a terminal and as JSON elsewhere, unless the configuration says which.
///
/// Lines are written by a thread of their own; when it cannot keep up, lines are dropped and counted, so that a slow
/// terminal or pipe never slows a call. Keep the result until the end of `main`: dropping it writes what is left.
///
/// The process's first call counts: when a subscriber is installed already, as in tests, nothing changes.
#[must_use = "dropping it writes the lines that are left: keep it until the end of main"]
pub fn install_logs(log: &Log) -> LogFlush {
    let as_json = match log.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let (writer, flush) = LineWriter::start(std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if as_json {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
    };
    let _ = tracing_subscriber::registry().with(lines).try_init();
    flush
}

/// Collects the process's metrics from now on; call it before workers start. Later calls give the same handle.
///
/// `None` when somebody else has installed a recorder of another kind.
pub fn install_metrics() -> Option<PrometheusHandle> {
    static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    INSTALLED.get_or_init(install_recorder).clone()
}

fn install_recorder() -> Option<PrometheusHandle> {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS);
    let recorder = builder.ok()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok()?;
    crate::metrics::describe();
    crate::sources::describe_metrics();
    writer::describe_metrics();
    Some(handle)
}

/// Upper bounds of the buckets of durations, in seconds: from a memory look-up to a transaction's end.
const SECONDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 32.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_is_harmless() {
        let log = Log::default();
        let (first, second) = (install_logs(&log), install_logs(&log));
        drop((first, second));
        assert!(install_metrics().is_some());
        metrics::counter!("centrex6_test_total").increment(1);
        assert!(install_metrics().unwrap().render().contains("centrex6_test_total 1"));
    }
}
