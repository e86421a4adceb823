//! Running sipp, bounded in calls and time, and reading its traces.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use user_agent::Message;

use super::{Credentials, until};

/// A sipp command being put together.
pub(crate) struct Sipp {
    scenario: PathBuf,
    remote: SocketAddr,
    port: Option<u16>,
    calls: u32,
    tcp: bool,
    arguments: Vec<String>,
    rows: Vec<String>,
}

/// A running sipp. Dropping it kills the process.
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
    /// Where it sends from and listens.
    pub(crate) local: SocketAddr,
}

/// The messages of a sipp that has ended, in order.
pub(crate) struct Trace {
    messages: Vec<Traced>,
}

/// One message of a trace.
pub(crate) struct Traced {
    /// Whether sipp sent it.
    pub(crate) sent: bool,
    /// As it was on the wire.
    pub(crate) text: String,
    /// The same, read.
    pub(crate) message: Message,
}

impl Sipp {
    /// A scenario from `load-tests/sipp` toward `remote` (for a server: the side that calls come from), for one call.
    pub(crate) fn new(scenario: &str, remote: SocketAddr) -> Sipp {
        let scenario = file(scenario);
        Sipp { scenario, remote, port: None, calls: 1, tcp: false, arguments: Vec::new(), rows: Vec::new() }
    }

    /// This line registers for an hour from a port that is then known: start a server scenario on it to be called.
    pub(crate) fn register(line: &Credentials, proxy: SocketAddr) -> Sipp {
        Sipp::new("register.xml", proxy).row(&line.row("3600")).auth_uri(&line.domain)
    }

    /// This line calls: the scenario is one of `call*.xml`.
    pub(crate) fn call(scenario: &str, line: &Credentials, dialled: &str, proxy: SocketAddr) -> Sipp {
        Sipp::new(scenario, proxy).row(&line.row(dialled)).auth_uri(&format!("{dialled}@{}", line.domain))
    }

    /// A server scenario on IPv6.
    pub(crate) fn phone(scenario: &str) -> Sipp {
        Sipp::new(scenario, SocketAddr::from((Ipv6Addr::LOCALHOST, 9)))
    }

    /// A server scenario on IPv4.
    pub(crate) fn gateway(scenario: &str) -> Sipp {
        Sipp::new(scenario, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
    }

    /// The port to use, in place of one that the system hands out.
    pub(crate) fn port(self, port: u16) -> Sipp {
        Sipp { port: Some(port), ..self }
    }

    /// How many calls to make or take.
    pub(crate) fn calls(self, calls: u32) -> Sipp {
        Sipp { calls, ..self }
    }

    /// Over TCP, one connection for all calls.
    pub(crate) fn tcp(self) -> Sipp {
        Sipp { tcp: true, ..self }
    }

    /// What to do with calls that come in while the scenario runs.
    pub(crate) fn answers(self, scenario: &str) -> Sipp {
        let scenario = file(scenario).display().to_string();
        self.args(&["-oocsf", &scenario])
    }

    /// A scenario variable, `-key name value`.
    pub(crate) fn key(self, name: &str, value: &str) -> Sipp {
        self.args(&["-key", name, value])
    }

    /// The time of pauses, in milliseconds.
    pub(crate) fn pause(self, ms: u32) -> Sipp {
        self.args(&["-d", &ms.to_string()])
    }

    /// The URI that the credentials are made for, without its scheme.
    pub(crate) fn auth_uri(self, uri: &str) -> Sipp {
        self.args(&["-auth_uri", uri])
    }

    /// Further arguments.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Sipp {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// A row of the CSV file; calls read them in order.
    pub(crate) fn row(mut self, row: &str) -> Sipp {
        self.rows.push(row.to_owned());
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Running {
        for _ in 0..TRIES {
            if let Some(running) = self.try_start() {
                return running;
            }
            assert!(self.port.is_none(), "somebody took port {:?} of a sipp", self.port);
        }
        panic!("sipp found no free port");
    }

    /// Runs it to the end, which must be a success.
    pub(crate) fn run(self) -> Trace {
        self.start().succeed()
    }

    /// `None` when somebody took the port meanwhile.
    fn try_start(&self) -> Option<Running> {
        let ip = if self.remote.is_ipv6() {
            IpAddr::from(Ipv6Addr::LOCALHOST)
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        let port = self.port.unwrap_or_else(|| free_port(ip, self.tcp));
        let folder = tempfile::Builder::new().prefix("centrex6-sipp-").tempdir().unwrap();
        let mut command = Command::new("sipp");
        command
            .arg(self.remote.to_string())
            .arg("-sf")
            .arg(&self.scenario)
            .args(["-i", &ip.to_string(), "-mi", &ip.to_string(), "-p", &port.to_string()])
            .args(["-m", &self.calls.to_string(), "-timeout", TIMEOUT, "-timeout_error", "-nostdin"])
            // A busy machine is no reason to give up.
            .args(["-watchdog_minor_maxtriggers", "1000000", "-watchdog_major_maxtriggers", "1000000"])
            .args(["-trace_err", "-error_file", ERRORS, "-trace_logs", "-log_file", "logs"])
            .args(["-trace_msg", "-message_file", MESSAGES])
            .args(&self.arguments);
        if self.tcp {
            command.args(["-t", "t1"]);
        }
        if !self.rows.is_empty() {
            let file = folder.path().join("rows.csv");
            std::fs::write(&file, format!("SEQUENTIAL\n{}\n", self.rows.join("\n"))).unwrap();
            command.arg("-inf").arg(file);
        }
        let output = std::fs::File::create(folder.path().join("screen")).unwrap();
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running { child, folder, local: SocketAddr::new(ip, port) };
        loop {
            match running.child.try_wait().unwrap() {
                Some(status) if status.code() == Some(CANNOT_BIND) => return None,
                // A short scenario may be over by now.
                Some(_) => return Some(running),
                None if is_bound(running.local, self.tcp) => return Some(running),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Running {
    /// Waits for the end, which must be a success: every call went as the scenario says.
    pub(crate) fn succeed(mut self) -> Trace {
        let shown = || String::from("sipp ends");
        let status = until(shown, || self.child.try_wait().unwrap());
        assert!(status.success(), "sipp ended with {status}:\n{}", self.shown());
        Trace::read(&self.messages())
    }

    fn messages(&self) -> String {
        // Media does not appear in it, so it is text.
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(MESSAGES)).unwrap_or_default())
            .into_owned()
    }

    /// Everything that sipp wrote, shortened.
    fn shown(&self) -> String {
        [ERRORS, "logs", MESSAGES, "screen"].into_iter().fold(String::new(), |mut shown, name| {
            let bytes = std::fs::read(self.folder.path().join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let from = text.char_indices().rev().nth(12_000).map_or(0, |(at, _)| at);
            shown.push_str(&format!("--- sipp's {name}\n{}\n", &text[from..]));
            shown
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Trace {
    fn read(text: &str) -> Trace {
        let entries = text.split("----------------------------------------------- ").skip(1);
        let messages = entries.filter_map(|entry| {
            let (_, rest) = entry.split_once('\n')?;
            let (head, rest) = rest.split_once('\n')?;
            // sipp writes an empty line before the message and another one after it.
            let text = rest.trim_start_matches(['\r', '\n']).to_owned();
            let message = Message::parse(text.as_bytes()).ok()?;
            Some(Traced { sent: head.contains(" sent "), text, message })
        });
        Trace { messages: messages.collect() }
    }

    /// The received messages whose first line has this text.
    pub(crate) fn received(&self, text: &str) -> Vec<&Traced> {
        self.of(false, text)
    }

    /// The sent messages whose first line has this text.
    pub(crate) fn sent(&self, text: &str) -> Vec<&Traced> {
        self.of(true, text)
    }

    /// In how many calls a message came whose first line has this text.
    pub(crate) fn calls_with(&self, text: &str) -> usize {
        let received = self.received(text);
        received.iter().filter_map(|traced| traced.message.header("Call-ID")).collect::<HashSet<_>>().len()
    }

    /// The status of the last final response that came.
    pub(crate) fn final_status(&self) -> u16 {
        let statuses =
            self.messages.iter().filter(|traced| !traced.sent).filter_map(|traced| traced.message.status());
        let last = statuses.map(|(status, _)| status).rfind(|status| *status >= 200);
        last.unwrap_or_else(|| panic!("no final response came"))
    }

    fn of(&self, sent: bool, text: &str) -> Vec<&Traced> {
        self.messages
            .iter()
            .filter(|traced| traced.sent == sent && traced.first_line().contains(text))
            .collect()
    }
}

impl Traced {
    fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn body(&self) -> String {
        String::from_utf8_lossy(&self.message.body).into_owned()
    }
}

impl Credentials {
    /// A row of the CSV file: extension;domain;credentials and a last field. sipp reads keywords inside a field, but not inside
    /// a keyword.
    pub(crate) fn row(&self, last: &str) -> String {
        {
            let Credentials { extension, domain, auth_user, password } = self;
            format!("{extension};{domain};[authentication username={auth_user} password={password}];{last}")
        }
    }
}

fn file(scenario: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("load-tests/sipp").join(scenario);
    assert!(file.exists(), "{} is missing", file.display());
    file
}

/// A port that was free a moment ago: sipp takes port 0 too, but does not say what it got.
pub(crate) fn free_port(ip: IpAddr, tcp: bool) -> u16 {
    let local = match tcp {
        true => TcpListener::bind((ip, 0)).unwrap().local_addr(),
        false => UdpSocket::bind((ip, 0)).unwrap().local_addr(),
    };
    local.unwrap().port()
}

/// Whether somebody has the port, as the kernel tells it: to try it would be in sipp's way.
pub(crate) fn is_bound(local: SocketAddr, tcp: bool) -> bool {
    let table = match (tcp, local.is_ipv6()) {
        (false, true) => "/proc/net/udp6",
        (false, false) => "/proc/net/udp",
        (true, true) => "/proc/net/tcp6",
        (true, false) => "/proc/net/tcp",
    };
    let port = format!(":{:04X}", local.port());
    let table = std::fs::read_to_string(table).unwrap_or_default();
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|own| own.ends_with(&port))
}

/// Seconds after which sipp gives up: less than the tests wait for it.
const TIMEOUT: &str = "25s";
/// sipp's exit code when a port is taken (-2).
const CANNOT_BIND: i32 = 254;
const TRIES: usize = 5;
const ERRORS: &str = "errors";
const MESSAGES: &str = "messages";
