//! When certificates are read again: on SIGHUP, and when a file has changed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};

use super::Tls;
use crate::config;

/// Reads the certificates again on SIGHUP and when a file has changed, until the task is aborted. What cannot be used is logged, and
/// what was there before stays in use.
///
/// # Errors
///
/// When the signal cannot be listened for.
pub fn watch(tls: &Tls) -> io::Result<JoinHandle<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let tls = tls.clone();
    Ok(tokio::spawn(async move {
        let mut seen = Fingerprint::of(&tls.config);
        let mut every = interval_at(Instant::now() + tls.config.check, tls.config.check);
        loop {
            let told = tokio::select! {
                _ = hangup.recv() => true,
                _ = every.tick() => false,
            };
            let now = Fingerprint::of(&tls.config);
            if !told && now == seen {
                continue;
            }
            // Not looked at again before it changes: a file that is half written changes once more.
            seen = now;
            match tls.reload() {
                Ok(()) => {
                    metrics::counter!(RELOADS, "result" => "ok").increment(1);
                    tracing::info!("certificates were read again; all else needs a restart");
                }
                Err(error) => {
                    metrics::counter!(RELOADS, "result" => "failed").increment(1);
                    tracing::error!(%error, "certificates were not read again; those from before stay in use");
                }
            }
        }
    }))
}

/// Tells whether a file was changed or replaced, also behind a symbolic link.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint(Vec<Option<(u64, u64, i64, i64)>>);

impl Fingerprint {
    fn of(config: &config::Tls) -> Fingerprint {
        let files = [
            &config.certificate,
            &config.key,
            &config.client_ca,
            &config.gateway_ca,
            &config.client_certificate,
            &config.client_key,
        ];
        Fingerprint(files.into_iter().map(|file| file.as_deref().and_then(mark)).collect())
    }
}

fn mark(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = path.metadata().ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

const RELOADS: &str = "centrex6_tls_reloads_total";
