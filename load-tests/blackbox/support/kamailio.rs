//! Kamailio (Debian) as a proxy that others wrote.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::sipp::{free_port, is_bound};
use super::until;

/// A running Kamailio. Dropping it stops it with its children.
pub(crate) struct Kamailio {
    child: Child,
    folder: TempDir,
    /// Where it listens, over UDP.
    pub(crate) local: SocketAddr,
}

impl Kamailio {
    /// Starts it with a configuration from `load-tests/kamailio` whose `@NAME@` are replaced.
    pub(crate) fn start(template: &str, ip: IpAddr, values: &[(&str, String)]) -> Kamailio {
        let folder = tempfile::Builder::new().prefix("centrex6-kamailio-").tempdir().unwrap();
        let local = SocketAddr::new(ip, free_port(ip, false));
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("load-tests/kamailio").join(template);
        let config = std::fs::read_to_string(template).unwrap().replace("@LISTEN@", &local.to_string());
        let config =
            values.iter().fold(config, |config, (name, value)| config.replace(&format!("@{name}@"), value));
        let path = folder.path().join("kamailio.cfg");
        std::fs::write(&path, config).unwrap();
        let log = folder.path().join("log");
        let mut child = Command::new("kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "8", "-f"])
            .arg(&path)
            .arg("-Y")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let shown = || format!("Kamailio listens\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        until(shown, || {
            assert!(child.try_wait().unwrap().is_none(), "{}", shown());
            is_bound(local, false).then_some(())
        });
        Kamailio { child, folder, local }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Killed outright, it would leave its children behind.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the log of Kamailio\n{log}");
        }
    }
}
