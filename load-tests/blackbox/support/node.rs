//! One node: the real binary in a folder of its own, on ports that the system handed out.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::until;

/// A running node. Dropping it kills the process and removes the folder.
pub(crate) struct Node {
    child: Child,
    folder: TempDir,
    setup: Setup,
    /// Where phones register over UDP.
    pub(crate) proxy: SocketAddr,
    /// Where phones register over TCP.
    pub(crate) proxy_tcp: SocketAddr,
    /// Where trunks reach the translator over UDP.
    pub(crate) trunk_side: SocketAddr,
    /// Where the proxy reaches the translator over UDP.
    pub(crate) translator: SocketAddr,
}

/// What a test wants otherwise than the default.
#[derive(Clone)]
pub(crate) struct Setup {
    name: String,
    /// Further configuration, as `CENTREX6__SECTION__KEY` variables.
    overrides: Vec<(String, String)>,
}

/// What a phone needs.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) extension: String,
    pub(crate) domain: String,
    pub(crate) auth_user: String,
    pub(crate) password: String,
}

impl Setup {
    /// A node called `n1` with two workers a role.
    pub(crate) fn new() -> Setup {
        Setup { name: "n1".to_owned(), overrides: Vec::new() }.set("NODE__WORKERS", "2")
    }

    /// Changes one setting, like `NODE__WORKERS`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Setup {
        let key = format!("CENTREX6__{key}");
        self.overrides.retain(|(known, _)| *known != key);
        self.overrides.push((key, value.to_owned()));
        self
    }

    /// Another name.
    pub(crate) fn name(mut self, name: &str) -> Setup {
        self.name = name.to_owned();
        self
    }

    /// Starts the node and waits until it is ready.
    pub(crate) fn start(self) -> Node {
        let folder = self.folder();
        self.start_in(folder)
    }

    /// A folder with the node's configuration. The watch plays in its own tests alone: sipp's scenarios expect no OPTIONS.
    pub(crate) fn folder(&self) -> TempDir {
        let folder = tempfile::Builder::new().prefix("centrex6-").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let name = &self.name;
        let config = format!(
            "[node]\nname = \"{name}\"\nroles = [\"registrar-proxy\", \"translator\"]\nadmin_listen = \"127.0.0.1:0\"\nadmin_socket = \"{}\"\ndata_dir = \"{}\"\n\
             [registrar_proxy]\nlisten = [\"udp:[::1]:0\", \"tcp:[::1]:0\"]\n\
             [translator]\nlisten_ipv6 = [\"udp:[::1]:0\", \"tcp:[::1]:0\"]\n\
             listen_ipv4 = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n",
            path("admin.sock"),
            path("")
        );
        std::fs::write(folder.path().join("centrex6.toml"), config).unwrap();
        folder
    }

    /// Starts the node in a folder that has its configuration.
    pub(crate) fn start_in(self, folder: TempDir) -> Node {
        let child = self.spawn(&folder);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Node {
            child,
            folder,
            setup: self,
            proxy: nowhere,
            proxy_tcp: nowhere,
            trunk_side: nowhere,
            translator: nowhere,
        };
        node.await_ready();
        node
    }

    /// The command line with this node's configuration and `--json`; no node need run.
    pub(crate) fn command(&self, folder: &TempDir, words: &[&str]) -> Command {
        let mut command = self.plain_command(folder, words);
        command.arg("--json");
        command
    }

    /// The same, as people use it.
    pub(crate) fn plain_command(&self, folder: &TempDir, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--config").arg(folder.path().join("centrex6.toml")).stdin(Stdio::null());
        command.envs(self.overrides.iter().map(|(key, value)| (key, value)));
        command
    }

    fn spawn(&self, folder: &TempDir) -> Child {
        let log: File = OpenOptions::new().create(true).append(true).open(folder.path().join("log")).unwrap();
        self.plain_command(folder, &["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }
}

impl Node {
    /// A node with the defaults.
    pub(crate) fn start() -> Node {
        Setup::new().start()
    }

    fn await_ready(&mut self) {
        let socket = self.folder.path().join("admin.sock");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the node ended with {status}:\n{}", self.log());
            }
            if UnixStream::connect(&socket).is_err() {
                assert!(Instant::now() < deadline, "the node did not become ready\n{}", self.log());
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let status = self.command(&["node", "status"]).output().unwrap();
            let nodes: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            let own = nodes
                .as_array()
                .and_then(|nodes| nodes.iter().find(|node| node["name"] == self.setup.name.as_str()));
            let address = |role: &str, transport: &str| {
                let listeners = own?["listeners"][role].as_array()?;
                if listeners.is_empty() {
                    // The node does not play the role.
                    return Some(self.proxy);
                }
                let found =
                    listeners.iter().filter_map(Value::as_str).find_map(|text| text.strip_prefix(transport));
                found?.parse().ok()
            };
            let found = (
                address("registrar_proxy", "udp:"),
                address("registrar_proxy", "tcp:"),
                address("translator_ipv4", "udp:"),
                address("translator_ipv6", "udp:"),
            );
            if let (Some(proxy), Some(proxy_tcp), Some(trunk_side), Some(translator)) = found {
                (self.proxy, self.proxy_tcp) = (proxy, proxy_tcp);
                (self.trunk_side, self.translator) = (trunk_side, translator);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs the command line against this node; gives what it printed as JSON.
    pub(crate) fn cli(&self, words: &[&str]) -> Value {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The command line aimed at this node, with `--json`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.setup.command(&self.folder, words)
    }

    /// The command line aimed at this node, as people use it.
    pub(crate) fn say(&self, words: &[&str]) -> Output {
        self.setup.plain_command(&self.folder, words).output().unwrap()
    }

    /// Adds a site with the code `8` + two digits and the domain `sNN.example.net`.
    pub(crate) fn add_site(&self, number: u8) -> String {
        let (code, domain) = (format!("8{number:02}"), format!("s{number:02}.example.net"));
        self.cli(&["site", "add", "--name", &domain, "--code", &code, "--domain", &domain]);
        domain
    }

    /// Adds a line.
    pub(crate) fn add_line(&self, domain: &str, extension: &str) -> Credentials {
        let item = self.cli(&["line", "add", "--site", domain, "--extension", extension]);
        let field = |name: &str| item[name].as_str().unwrap().to_owned();
        Credentials {
            extension: extension.to_owned(),
            domain: domain.to_owned(),
            auth_user: field("auth_user"),
            password: field("password"),
        }
    }

    /// A site with lines of these extensions.
    pub(crate) fn add_lines<const N: usize>(&self, extensions: [&str; N]) -> [Credentials; N] {
        let domain = self.add_site(1);
        extensions.map(|extension| self.add_line(&domain, extension))
    }

    /// Adds a number that rings a line.
    pub(crate) fn add_number(&self, number: &str, line: &Credentials) {
        self.cli(&["number", "add", number, "--line", &line.auth_user]);
    }

    /// Adds a trunk with these gateways, and a route for every number over it.
    pub(crate) fn add_trunk(&self, name: &str, gateways: &[SocketAddr]) {
        let listeners: Vec<String> = gateways.iter().map(|gateway| format!("udp:{gateway}")).collect();
        let mut words = vec!["trunk", "add", "--name", name];
        for listener in &listeners {
            words.extend(["--gateway", listener]);
        }
        self.cli(&words);
        self.cli(&["route", "add", "--trunk", name]);
    }

    /// What `node status` says of this node.
    pub(crate) fn status(&self) -> Value {
        let nodes = self.cli(&["node", "status"]);
        let own = nodes.as_array().unwrap().iter().find(|node| node["name"] == self.setup.name.as_str());
        own.unwrap_or_else(|| panic!("{nodes}")).clone()
    }

    /// Lines that have a binding.
    pub(crate) fn registered(&self) -> u64 {
        self.status()["registered_lines"].as_u64().unwrap()
    }

    /// The call records, the oldest first, once there are `count`; more are an error.
    pub(crate) fn call_records(&self, count: usize) -> Vec<Value> {
        let list = || self.cli(&["call", "list", "--limit", "1000"]).as_array().unwrap().clone();
        let what = || format!("{count} call records\n{:#?}\n{}", list(), self.log());
        let mut records = until(what, || Some(list()).filter(|records| records.len() >= count));
        assert_eq!(records.len(), count, "{records:#?}");
        records.reverse();
        records
    }

    /// The only call record, once it is there.
    pub(crate) fn call_record(&self) -> Value {
        self.call_records(1).remove(0)
    }

    /// What the node logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until a line of the log holds all of these texts.
    pub(crate) fn await_log(&self, texts: &[&str]) {
        let found = |log: &str| log.lines().any(|line| texts.iter().all(|text| line.contains(text)));
        until(|| format!("the log says {texts:?}\n{}", self.log()), || found(&self.log()).then_some(()));
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, like `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().unwrap().success());
    }

    /// An address on which a part listens (`registrar_proxy`, `translator_ipv6`, `translator_ipv4`), by transport.
    pub(crate) fn listener(&self, part: &str, transport: &str) -> SocketAddr {
        let status = self.status();
        let listeners = status["listeners"][part].as_array().unwrap().iter().filter_map(Value::as_str);
        let found = listeners.filter_map(|text| text.strip_prefix(transport)?.strip_prefix(':')).next();
        found.unwrap_or_else(|| panic!("no {transport} in {status}")).parse().unwrap()
    }

    /// Waits for the process's end.
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        let log = self.folder.path().join("log");
        let shown = || format!("the node ends\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        until(shown, || self.child.try_wait().unwrap())
    }

    /// Stops the node and starts it again on the same ports.
    pub(crate) fn restart(&mut self) {
        self.terminate();
        assert!(self.await_end().success(), "{}", self.log());
        self.start_again();
    }

    /// Kills the process, as a power cut would, and starts it again on the same ports.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.start_again();
    }

    fn start_again(&mut self) {
        let listen = format!("udp:{},tcp:{}", self.proxy, self.proxy_tcp);
        self.setup = self
            .setup
            .clone()
            .set("REGISTRAR_PROXY__LISTEN", &listen)
            .set("TRANSLATOR__LISTEN_IPV6", &format!("udp:{0},tcp:{0}", self.translator))
            .set("TRANSLATOR__LISTEN_IPV4", &format!("udp:{0},tcp:{0}", self.trunk_side));
        self.child = self.setup.spawn(&self.folder);
        self.await_ready();
    }

    /// Fails, with the log, when the process is gone or a thread of it panicked.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        let log = self.log();
        assert!(ended.is_none(), "the node ended with {ended:?}:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of {}\n{}", self.setup.name, self.log());
        }
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_centrex6");
