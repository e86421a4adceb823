//! The tunnel broker alone, as an old client meets it. Its tunnel server is away: that needs privileges, and the lab has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use md5::{Digest, Md5};

use crate::support::{Node, Setup};

/// A node that is a broker and nothing else.
fn broker() -> (Node, SocketAddr) {
    let node = Setup::new()
        .set("NODE__ROLES", "tunnel-broker")
        .set("TUNNEL_BROKER__LISTEN", "127.0.0.1:0")
        // Nobody listens on the discard port.
        .set("TUNNEL_BROKER__SERVERS", "127.0.0.1:9")
        .set("TUNNEL_BROKER__FAILURE_DELAY_S", "0")
        .start();
    let address = node.status()["listeners"]["tunnel_broker"][0].as_str().unwrap().parse().unwrap();
    (node, address)
}

/// A client with its challenge.
struct Client {
    stream: BufReader<TcpStream>,
    challenge: String,
}

impl Client {
    fn connect(broker: SocketAddr) -> Client {
        let stream = TcpStream::connect(broker).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut client = Client { stream: BufReader::new(stream), challenge: String::new() };
        let greeting = client.line();
        assert!(greeting.starts_with("+OK ") && greeting.ends_with("\r\n"), "{greeting:?}");
        client.challenge = greeting.split(' ').nth(1).unwrap().to_owned();
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    fn say(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(line.as_bytes()).unwrap();
        self.line().trim_end().to_owned()
    }

    fn login(&mut self, user: &str, password: &str) -> String {
        let hash = Md5::digest(format!("{user}{}{password}", self.challenge));
        self.say(&format!("tunnel {user} {} network\n", hex::encode(hash)))
    }

    fn is_closed(&mut self) -> bool {
        self.stream.read(&mut [0]).map_or(true, |count| count == 0)
    }
}

#[test]
fn an_old_client_is_answered_in_its_own_words() {
    let (node, address) = broker();
    let mut client = Client::connect(address);
    assert_eq!(client.say("ping\r\n"), "+OK pong");
    assert_eq!(client.say("HELP\n"), "+OK valid commands are: TUNNEL PING QUIT");
    assert_eq!(client.say("centre\n"), "-ERR invalid command");
    assert_eq!(client.say("quit\n"), "+OK bye");
    assert!(client.is_closed());

    let mut client = Client::connect(address);
    for _ in 0..3 {
        assert_eq!(client.login("nobody", "secret"), "-ERR authentication failed.");
    }
    assert!(client.is_closed());
    node.await_log(&["wrong user name or password"]);
}

#[test]
fn a_right_password_is_known_and_a_barred_account_is_not() {
    let (node, address) = broker();
    node.cli(&[
        "site",
        "add",
        "--name",
        "Ume",
        "--code",
        "801",
        "--domain",
        "s01.example.net",
        "--prefix",
        "2001:db8:1::/48",
    ]);
    let added = node.cli(&["account", "add", "--site", "801"]);
    let password = added["password"].as_str().unwrap();
    // Its tunnel server is away, which only an account may hear.
    let mut client = Client::connect(address);
    assert_eq!(client.login("s01", password), "-ERR tunnel interface sold out");
    assert!(client.is_closed());
    node.cli(&["account", "bar", "s01"]);
    assert_eq!(Client::connect(address).login("s01", password), "-ERR authentication failed.");
    let tunnels = node.cli(&["tunnel", "list"]);
    assert_eq!(tunnels, serde_json::json!([]), "nobody has ever had one");
    assert_eq!(node.cli(&["tunnel", "show", "s01"])["state"], "down");
    assert!(!node.log().contains(password), "no password in the log");
}

#[test]
fn a_stopping_broker_lets_its_clients_go() {
    let (mut node, address) = broker();
    let mut client = Client::connect(address);
    node.terminate();
    assert!(node.await_end().success());
    assert!(client.is_closed());
    assert!(TcpStream::connect(address).is_err());
}
