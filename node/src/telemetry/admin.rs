//! The admin port: `/live`, `/ready` and `/metrics` over HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Health;
use crate::shutdown::{Phase, Shutdown};

/// Why the admin port is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot serve the admin port on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The running admin port. It is closed when it is dropped, or when the platform stops.
#[derive(Debug)]
pub struct AdminServer {
    addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl AdminServer {
    /// Serves on `addr` until `shutdown` stops; a draining node still answers.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start(
        addr: SocketAddr,
        health: Health,
        metrics: Option<PrometheusHandle>,
        shutdown: &Shutdown,
    ) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let router = router(health, metrics.clone());
        let shutdown = shutdown.clone();
        let serving = tokio::spawn(async move {
            tokio::select! {
                result = async { axum::serve(listener, router).await } => if let Err(error) = result {
                    tracing::error!(%error, "the admin port ended");
                },
                () = upkeep(metrics) => {}
                () = shutdown.reached(Phase::Stopping) => {}
            }
        });
        Ok(AdminServer { addr, serving })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn router(health: Health, metrics: Option<PrometheusHandle>) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready).with_state(health))
        .route("/metrics", get(render).with_state(metrics))
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    match health.unready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn render(State(metrics): State<Option<PrometheusHandle>>) -> impl IntoResponse {
    let text = metrics.map(|metrics| metrics.render()).unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Folds what histograms have collected, which otherwise only happens when somebody looks.
async fn upkeep(metrics: Option<PrometheusHandle>) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        if let Some(metrics) = &metrics {
            metrics.run_upkeep();
        }
    }
}

const UPKEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(server: &AdminServer, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    #[tokio::test]
    async fn the_admin_port_tells_life_readiness_and_metrics() {
        let shutdown = Shutdown::new();
        let health = Health::starting(&shutdown);
        let metrics = super::super::install_metrics();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = AdminServer::start(addr, health.clone(), metrics, &shutdown).await.unwrap();
        assert_eq!(get(&server, "/live").await, (200, "live\n".to_owned()));
        assert_eq!(get(&server, "/ready").await, (503, "starting\n".to_owned()));
        health.set_ready();
        assert_eq!(get(&server, "/ready").await, (200, "ready\n".to_owned()));
        health.set_unready("the store is away");
        assert_eq!(get(&server, "/ready").await, (503, "the store is away\n".to_owned()));
        metrics::counter!("centrex6_admin_test_total").increment(1);
        assert!(get(&server, "/metrics").await.1.contains("centrex6_admin_test_total 1"));
        shutdown.drain();
        assert_eq!(get(&server, "/ready").await, (503, "draining\n".to_owned()));
        let taken = AdminServer::start(server.addr(), health, None, &shutdown).await;
        assert!(taken.unwrap_err().to_string().starts_with("cannot serve the admin port on 127.0.0.1:"));
    }
}
