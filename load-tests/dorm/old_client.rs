//! A client of the old days against our broker: `load-tests/lab/dtcp_client.py`.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use load_tests::lab::Namespace;
use load_tests::lab::plan::{Access, BROKER, TUNNEL_SERVER};

use crate::support::{PATIENCE, Readable, account, dorms, have, until, up};

#[test]
fn an_old_client_is_served_as_it_was() {
    if !have("python3", "python3") {
        return;
    }
    let Some(mut lab) = up(&dorms(2, 0, Access::Router).without_agents()) else { return };
    let dorm = lab.plan().dorm(1).unwrap().clone();
    let (own, provisioned) = (dorm.public_address(0), lab.provisioned(1).good().clone());
    let (user, password) = (&provisioned.account, &provisioned.password);
    let iad = Namespace::named(&dorm.iad);

    let mut wrong = Client::log_in(&iad, user, "wrong", "network");
    assert_eq!(wrong.hear(), "-ERR authentication failed.");

    let mut client = Client::log_in(&iad, user, password, "network");
    let challenge = client.greeting.split(' ').nth(1).unwrap();
    assert!(client.greeting.starts_with("+OK "), "{}", client.greeting);
    assert!(challenge.len() == 32 && challenge.bytes().all(|byte| byte.is_ascii_hexdigit()), "{challenge}");
    // The prefix is written with groups of four digits, as ever.
    let granted = client.hear();
    let (ends, prefix) = granted.rsplit_once(' ').unwrap();
    assert_eq!(ends, format!("+OK {own} {TUNNEL_SERVER}"));
    let plain = |prefix: &str| {
        prefix.split_once('/').map(|(net, len)| (net.parse::<Ipv6Addr>().unwrap(), len.to_owned()))
    };
    assert_eq!(plain(prefix), plain(&provisioned.prefix.to_string()), "{granted}");
    assert_eq!(client.ping(), "+OK pong");
    let up = || (account(&lab, 1)["lease"]["up"] == true).then_some(());
    until("the lease says that the tunnel is up", PATIENCE, up);
    assert!(client.quit().starts_with("+OK"));
    let down = || (account(&lab, 1)["lease"]["up"] == false).then_some(());
    until("the tunnel is down", PATIENCE, down);

    let mut client = Client::log_in(&iad, user, password, "tunnelonly");
    assert_eq!(client.hear(), format!("+OK {own} {TUNNEL_SERVER}"));
    // Dropping the connection is as good as quitting.
    drop(client);
    until("the tunnel is down", PATIENCE, down);

    // The broker says whom it sees; an old client behind NAT gives up at that.
    let (provisioned, dorm) = (lab.provisioned(2).good().clone(), lab.plan().dorm(2).unwrap().clone());
    let behind = Namespace::named(&dorm.iad);
    let mut client = Client::log_in(&behind, &provisioned.account, &provisioned.password, "network");
    let granted = client.hear();
    assert!(granted.starts_with(&format!("+OK {} ", dorm.public_address(0))), "{granted}");
    assert_eq!(client.hear(), "you are behind a NAT box");
}

/// A running client. Dropping it kills it.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// The broker's first line.
    pub(crate) greeting: String,
}

impl Client {
    /// Connects and asks for a tunnel; the answer is the next thing to hear.
    pub(crate) fn log_in(from: &Namespace, user: &str, password: &str, kind: &str) -> Client {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load-tests/lab/dtcp_client.py");
        let mut command = from.command("python3");
        command.arg(script).args([&BROKER.to_string(), "20200", user, password, kind]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut client = Client { child, stdin, stdout, greeting: String::new() };
        client.greeting = client.hear();
        client
    }

    /// The broker's next line, or `closed`.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a ping; gives the answer, or `closed`.
    pub(crate) fn ping(&mut self) -> String {
        if self.stdin.as_mut().is_none_or(|stdin| stdin.write_all(b"\n").is_err()) {
            return "closed".to_owned();
        }
        self.hear()
    }

    /// Quits; gives the answer.
    pub(crate) fn quit(mut self) -> String {
        // Its standard input ends with ours.
        self.stdin = None;
        let answer = self.hear();
        self.child.wait().unwrap();
        answer
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
