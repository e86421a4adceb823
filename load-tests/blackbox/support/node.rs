//! One node: the real binary in a folder of its own, on ports that the system handed out.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A running node. Dropping it kills the process and removes the folder.
pub struct Node {
    child: Child,
    folder: TempDir,
    /// Where phones register.
    pub proxy: SocketAddr,
    /// Where trunks reach the translator.
    pub trunk_side: SocketAddr,
}

/// What a test may want otherwise than the default.
pub struct Setup {
    /// Further configuration, as `CENTREX6__SECTION__KEY` variables.
    pub overrides: Vec<(&'static str, String)>,
}

/// What a phone needs.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub extension: String,
    pub domain: String,
    pub auth_user: String,
    pub password: String,
}

impl Node {
    /// A node with the defaults.
    pub fn start() -> Node {
        Node::start_with(&Setup { overrides: Vec::new() })
    }

    /// A node with some settings changed. Waits until it is ready.
    pub fn start_with(setup: &Setup) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "[node]\nname = \"n1\"\nworkers = 2\nadmin_listen = \"127.0.0.1:0\"\nadmin_socket = \"{}\"\nkey_file = \"{}\"\ndata_dir = \"{}\"\n\
             [registrar_proxy]\nlisten = [\"udp:[::1]:0\", \"tcp:[::1]:0\"]\n\
             [translator]\nlisten_ipv6 = [\"udp:[::1]:0\"]\nlisten_ipv4 = [\"udp:127.0.0.1:0\"]\n",
            path("admin.sock"),
            path("key"),
            path("")
        );
        std::fs::write(folder.path().join("centrex6.toml"), config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["run", "--config", &path("centrex6.toml")]);
        for (name, value) in &setup.overrides {
            command.env(name, value);
        }
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Node { child, folder, proxy: nowhere, trunk_side: nowhere };
        node.await_ready();
        node
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the node ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the node did not become ready:\n{}", self.log());
            if self.folder.path().join("admin.sock").exists() {
                let status = self.cli(&["node", "status"]);
                let address = |role: &str| {
                    let listeners = status[0]["listeners"][role].as_array()?;
                    let udp = listeners
                        .iter()
                        .filter_map(Value::as_str)
                        .find_map(|text| text.strip_prefix("udp:"))?;
                    udp.parse().ok()
                };
                if let (Some(proxy), Some(trunk_side)) =
                    (address("registrar_proxy"), address("translator_ipv4"))
                {
                    (self.proxy, self.trunk_side) = (proxy, trunk_side);
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs the command line against this node; gives what it printed as JSON.
    pub fn cli(&self, words: &[&str]) -> Value {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The command line aimed at this node, with `--json`.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--json").arg("--config").arg(self.folder.path().join("centrex6.toml"));
        command
    }

    /// Adds a site with the code `8` + two digits and the domain `sNN.example.net`.
    pub fn add_site(&self, number: u8) -> String {
        let (code, domain) = (format!("8{number:02}"), format!("s{number:02}.example.net"));
        self.cli(&["site", "add", "--name", &domain, "--code", &code, "--domain", &domain]);
        domain
    }

    /// Adds a line.
    pub fn add_line(&self, domain: &str, extension: &str) -> Credentials {
        let item = self.cli(&["line", "add", "--site", domain, "--extension", extension]);
        let field = |name: &str| item[name].as_str().unwrap().to_owned();
        Credentials {
            extension: extension.to_owned(),
            domain: domain.to_owned(),
            auth_user: field("auth_user"),
            password: field("password"),
        }
    }

    /// Adds a trunk with these gateways, and a route for every number over it.
    pub fn add_trunk(&self, name: &str, gateways: &[SocketAddr]) {
        let listeners: Vec<String> = gateways.iter().map(|gateway| format!("udp:{gateway}")).collect();
        let mut words = vec!["trunk", "add", "--name", name];
        for listener in &listeners {
            words.extend(["--gateway", listener]);
        }
        self.cli(&words);
        self.cli(&["route", "add", "--trunk", name]);
    }

    /// The call records, once there are at least `count`.
    pub fn call_records(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let records = self.cli(&["call", "list"]);
            let records = records.as_array().unwrap();
            if records.len() >= count {
                return records.clone();
            }
            assert!(Instant::now() < deadline, "{} of {count} call records:\n{}", records.len(), self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the node logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log holds a text.
    pub fn await_log(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "the log does not say {text:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the process's end; gives whether it ended well.
    pub fn await_end(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the node did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the node's log\n{}", self.log());
        }
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_centrex6");
