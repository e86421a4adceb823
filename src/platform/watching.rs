//! The role that watches sites.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dorm_watch::{Bell, Service, ServiceSettings, Settings, World};
use node::config::{Config, Role};
use node::lifecycle::Shutdown;
use node::telemetry::Mask;
use schema::Apply;

use super::foundation::Foundation;

/// Starts the watch when the configuration names the role.
pub(super) fn start(
    config: &Config,
    foundation: &Foundation,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Service>> {
    if !config.node.plays(Role::Watch) {
        return Ok(None);
    }
    dorm_watch::describe_metrics();
    let settings = ServiceSettings {
        watch: Settings::from_config(&config.watch),
        listen: config.watch.listen,
        user_agent: config.sip.user_agent.clone(),
        mask: Mask::new(&config.log),
    };
    let world = World {
        directory: Arc::clone(&foundation.directory),
        locations: Arc::clone(&foundation.locations),
        writer: foundation.writer.clone(),
    };
    let bell = Arc::new(Bell::default());
    foundation.mirror.add(Arc::clone(&bell) as Arc<dyn Apply>);
    let service = Service::start(settings, world, bell, shutdown.clone())?;
    warn_of_others(config, foundation);
    Ok(Some(service))
}

/// Two watches raise no alarm twice, but they ask everybody twice, and each may clear what the other sees.
fn warn_of_others(config: &Config, foundation: &Foundation) {
    let (store, own) = (Arc::clone(&foundation.store), config.node.name.clone());
    tokio::spawn(async move {
        let Ok(nodes) = store.nodes().await else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let alive = |seen_at: i64| now.saturating_sub(Duration::from_millis(seen_at.unsigned_abs())) < ALIVE;
        let watch = Role::Watch.as_str();
        for node in nodes {
            if node.name != own && alive(node.seen_at) && node.roles.iter().any(|role| role == watch) {
                tracing::warn!(other = %node.name, "another node watches too: let one node of a platform play the role watch");
            }
        }
    });
}

/// A node that has said that it lives so lately does live.
const ALIVE: Duration = Duration::from_secs(30);
