//! One node of the platform: the real binary in a folder of its own, on ports that the system handed out.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ports;
use crate::process::Process;

/// How a node shall be.
#[derive(Debug, Clone)]
pub struct Setup {
    binary: PathBuf,
    name: String,
    /// Further configuration, as `CENTREX6__SECTION__KEY` variables.
    overrides: Vec<(String, String)>,
}

/// A running node. Dropping it kills the process and removes the folder.
#[derive(Debug)]
pub struct Node {
    child: Child,
    folder: TempDir,
    setup: Setup,
    /// Where `/metrics` is.
    pub admin: SocketAddr,
    /// Where phones register over UDP; port 0 when it plays no such role, as with the two below.
    pub proxy: SocketAddr,
    /// Where trunks reach the translator over UDP.
    pub trunk_side: SocketAddr,
    /// Where the proxy reaches the translator over UDP.
    pub translator: SocketAddr,
}

/// What a phone needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What is dialled inside the site; the user part of the address.
    pub extension: String,
    /// The site's domain.
    pub domain: String,
    /// User name of the digest.
    pub auth_user: String,
    /// Password of the digest.
    pub password: String,
}

/// What `/metrics` said at one moment.
#[derive(Debug, Clone)]
pub struct Metrics(String);

/// Why a node could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no binary.
    #[error("{} is missing: run `cargo build --release` first", path.display())]
    NoBinary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The process is gone.
    #[error("the node ended with {status}:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its log.
        log: String,
    },
    /// It did not become ready, or did not end, in time.
    #[error("the node did not {what} in time:\n{log}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// Its log.
        log: String,
    },
    /// It refused an operation, or gave an answer that is none.
    #[error("the node answered {operation} with {answer}")]
    Refused {
        /// The operation's noun.
        operation: String,
        /// The answer.
        answer: String,
    },
}

impl Setup {
    /// A node called `n1` of this binary.
    pub fn new(binary: &Path) -> Setup {
        Setup { binary: binary.to_owned(), name: "n1".to_owned(), overrides: Vec::new() }
    }

    /// Changes one setting, like `NODE__WORKERS`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Setup {
        let key = format!("CENTREX6__{key}");
        self.overrides.retain(|(known, _)| *known != key);
        self.overrides.push((key, value.to_owned()));
        self
    }

    /// Another name.
    #[must_use]
    pub fn name(self, name: &str) -> Setup {
        Setup { name: name.to_owned(), ..self }
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Errors
    /// When there is no binary, or it does not become ready.
    pub fn start(self) -> Result<Node, NodeError> {
        if !self.binary.exists() {
            return Err(NodeError::NoBinary { path: self.binary });
        }
        let folder =
            tempfile::Builder::new().prefix("centrex6-").tempdir().map_err(io("make a temporary folder"))?;
        let admin_port = ports::free_tcp(Ipv4Addr::LOCALHOST.into()).map_err(io("find a free port"))?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "[node]\nname = \"{}\"\nroles = [\"registrar-proxy\", \"translator\"]\n\
             admin_listen = \"{admin}\"\nadmin_socket = \"{}\"\ndata_dir = \"{}\"\n\
             [registrar_proxy]\nlisten = [\"udp:[::1]:0\", \"tcp:[::1]:0\"]\n\
             [translator]\nlisten_ipv6 = [\"udp:[::1]:0\"]\nlisten_ipv4 = [\"udp:127.0.0.1:0\"]\n",
            self.name,
            path(SOCKET),
            path("")
        );
        std::fs::write(folder.path().join(CONFIG), config).map_err(io("write the configuration"))?;
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).open(folder.path().join(LOG)).map_err(io("make the log"))?;
        let child = Command::new(&self.binary)
            .args(["run", "--config"])
            .arg(folder.path().join(CONFIG))
            .envs(self.overrides.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io("start the node"))?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Node {
            child,
            folder,
            setup: self,
            admin,
            proxy: nowhere,
            trunk_side: nowhere,
            translator: nowhere,
        };
        node.await_ready()?;
        Ok(node)
    }
}

impl Node {
    /// Its process.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// The folder with its configuration, store and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it carry out an operation as the command line would; gives what `--json` would print.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub fn operate(&self, operation: &Value) -> Result<Value, NodeError> {
        operate(&self.folder.path().join(SOCKET), operation)
    }

    /// Carries out many operations, several at a time; the answers come in the operations' order.
    ///
    /// # Errors
    /// With the first that it refuses.
    pub fn operate_all(&self, operations: &[Value]) -> Result<Vec<Value>, NodeError> {
        let socket = self.folder.path().join(SOCKET);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut answers = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(operation) = operations.get(at) else { return Ok(answers) };
                answers.push((at, operate(&socket, operation)?));
            }
        };
        let mut answers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE.min(operations.len())).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::with_capacity(operations.len());
            for thread in threads {
                let joined =
                    thread.join().map_err(|_| NodeError::Late { what: "answer", log: String::new() })?;
                all.extend(joined?);
            }
            Ok(all)
        })?;
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Adds `count` lines over as many sites of `per_site` lines as that takes, with the password given.
    ///
    /// # Errors
    /// When it refuses one.
    pub fn add_lines(
        &self,
        count: usize,
        per_site: usize,
        password: &str,
    ) -> Result<Vec<Credentials>, NodeError> {
        let per_site = per_site.clamp(1, 900);
        let sites: Vec<Value> = (1..=count.div_ceil(per_site)).map(site).collect();
        self.operate_all(&sites)?;
        let lines: Vec<Credentials> = (0..count)
            .map(|at| {
                let (label, extension) =
                    (format!("s{:03}", at / per_site + 1), (100 + at % per_site).to_string());
                Credentials {
                    domain: format!("{label}.example.net"),
                    auth_user: format!("{label}-{extension}"),
                    extension,
                    password: password.to_owned(),
                }
            })
            .collect();
        self.operate_all(&lines.iter().map(line).collect::<Vec<_>>())?;
        Ok(lines)
    }

    /// Adds a trunk with one gateway, and a route for every number over it.
    ///
    /// # Errors
    /// When it refuses.
    pub fn add_trunk(&self, name: &str, gateway: SocketAddr) -> Result<(), NodeError> {
        let gateway = format!("udp:{gateway}");
        self.operate(&json!({"trunk": {"add": {
            "name": name, "gateways": [gateway], "sources": [], "media_networks": [],
            "max_calls": null, "max_udp_bytes": null, "default_caller": null,
        }}}))?;
        let route = json!({"prefix": "", "trunk": name, "priority": 0, "strip": 0, "prepend": ""});
        self.operate(&json!({"route": {"add": route}}))?;
        Ok(())
    }

    /// What `node status` says of this node.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Value, NodeError> {
        let nodes = self.operate(&json!({"node": "status"}))?;
        let own =
            nodes.as_array().and_then(|all| all.iter().find(|node| node["name"] == self.setup.name.as_str()));
        own.cloned().ok_or_else(|| refused("node", nodes.to_string()))
    }

    /// Reads `/metrics`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics, NodeError> {
        let failed = io("read /metrics");
        let read = || {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        read().map(Metrics).map_err(failed)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    /// Stops it in order, and gives its whole log.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub fn stop(mut self) -> Result<String, NodeError> {
        self.process().terminate().map_err(io("stop the node"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().map_err(io("wait for the node"))? {
                Some(status) if status.success() => return Ok(self.log()),
                Some(status) => return Err(NodeError::Ended { status, log: self.log() }),
                None if Instant::now() > deadline => {
                    return Err(NodeError::Late { what: "end", log: self.log() });
                }
                None => std::thread::sleep(TICK),
            }
        }
    }

    fn await_ready(&mut self) -> Result<(), NodeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().map_err(io("wait for the node"))? {
                return Err(NodeError::Ended { status, log: self.log() });
            }
            if self.folder.path().join(SOCKET).exists()
                && let Ok(status) = self.status()
            {
                let address = |role: &str| {
                    let all = status["listeners"][role].as_array()?;
                    let udp =
                        all.iter().filter_map(Value::as_str).find_map(|text| text.strip_prefix("udp:"))?;
                    udp.parse().ok()
                };
                // A role that it does not play has no address.
                let roles = [
                    ("registrar-proxy", "registrar_proxy"),
                    ("translator", "translator_ipv4"),
                    ("translator", "translator_ipv6"),
                ];
                let plays = |role: &str| {
                    status["roles"].as_array().is_some_and(|roles| roles.iter().any(|own| own == role))
                };
                let addresses = roles.map(|(role, listener)| match plays(role) {
                    true => address(listener),
                    false => Some(self.proxy),
                });
                if let [Some(proxy), Some(trunk_side), Some(translator)] = addresses {
                    (self.proxy, self.trunk_side, self.translator) = (proxy, trunk_side, translator);
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                return Err(NodeError::Late { what: "become ready", log: self.log() });
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Credentials {
    /// A row of a sipp's CSV file: extension, domain, and the keyword with which sipp answers a challenge. sipp reads keywords in
    /// fields, but no fields in keywords.
    pub fn row(&self) -> String {
        let Credentials { extension, domain, auth_user, password } = self;
        format!("{extension};{domain};[authentication username={auth_user} password={password}]")
    }
}

impl Metrics {
    /// What `/metrics` answered, HTTP headers and all.
    pub(crate) fn new(text: String) -> Metrics {
        Metrics(text)
    }

    /// The sum of a metric over all its labels; 0 when there is none.
    pub fn sum(&self, name: &str) -> f64 {
        let of = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labels) => labels.split_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        };
        self.0.lines().filter_map(of).sum()
    }

    /// The sum of a metric over all series with this label, such as `reason="loop"`; 0 when there is none.
    pub fn value(&self, name: &str, label: &str) -> f64 {
        let of = |line: &str| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once('}')?;
            labels.split(',').any(|given| given == label).then(|| value.trim().parse::<f64>().ok())?
        };
        self.0.lines().filter_map(of).sum()
    }

    /// Whether there is such a metric.
    pub fn has(&self, name: &str) -> bool {
        self.0.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    }
}

/// One operation a connection, one JSON document each way, each on a line.
fn operate(socket: &Path, operation: &Value) -> Result<Value, NodeError> {
    let exchange = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{operation}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = exchange().map_err(io("ask the node over its admin socket"))?;
    let noun = operation.as_object().and_then(|object| object.keys().next().cloned()).unwrap_or_default();
    let answer: Value = serde_json::from_str(&line).map_err(|_| refused(&noun, line.clone()))?;
    let reply = &answer["reply"];
    match (&reply["rows"]["rows"], &reply["item"], &reply["done"]["item"]) {
        (Value::Null, Value::Null, Value::Null) => Err(refused(&noun, line)),
        (Value::Null, Value::Null, item) | (Value::Null, item, _) | (item, _, _) => Ok(item.clone()),
    }
}

fn site(number: usize) -> Value {
    let (name, domain) = (format!("Dorm {number}"), format!("s{number:03}.example.net"));
    let code = (8000 + number).to_string();
    json!({"site": {"add": {
        "name": name, "code": code, "domain": domain, "region": "", "pattern": "", "prefix": null,
    }}})
}

fn line(credentials: &Credentials) -> Value {
    json!({"line": {"add": {
        "site": credentials.domain, "extension": credentials.extension, "auth_user": credentials.auth_user,
        "name": "", "password": credentials.password,
        "anywhere": false, "internal_only": false, "international": false,
    }}})
}

fn io(what: &'static str) -> impl Fn(io::Error) -> NodeError {
    move |source| NodeError::Io { what, source }
}

fn refused(operation: &str, answer: String) -> NodeError {
    NodeError::Refused { operation: operation.to_owned(), answer }
}

const SOCKET: &str = "admin.sock";
const CONFIG: &str = "centrex6.toml";
const LOG: &str = "log";
/// Connections to the admin socket at a time: as many as one commit of the store may well hold.
const AT_ONCE: usize = 64;
/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// There is nothing to be told by: the node is a process of its own.
const TICK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# HELP a_total x\na_total{b=\"1\"} 2\na_total{b=\"2\"} 3\na_total_more 9\nplain 7\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!((metrics.sum("a_total"), metrics.sum("plain"), metrics.sum("none")), (5.0, 7.0, 0.0));
        assert!(metrics.has("plain") && !metrics.has("pla"));
    }

    #[test]
    fn a_missing_binary_is_told_with_the_remedy() {
        let error = Setup::new(Path::new("/nowhere/centrex6")).start().unwrap_err();
        assert!(error.to_string().contains("cargo build --release"), "{error}");
    }
}
