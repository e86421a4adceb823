//! What the proxy does not support, and what it says of itself.

use crate::support::raw::{aor, slow_and_steady};
use crate::support::{Node, Raw};

/// RFC 3261 §16.3: a Proxy-Require that we do not support is answered with 420, and all of it is named.
/// RFC 3261 §8.2.2.3: so is a Require, where the request is for ourselves.
/// RFC 3261 §16.3: a scheme that we do not know is answered with 416.
#[test]
fn what_is_not_supported() {
    let node = slow_and_steady().start();
    let [line] = node.add_lines(["101"]);
    let mut stranger = Raw::udp(node.proxy);
    let mut invite = stranger.request("INVITE", &aor(&line), "x@example.org");
    invite.push("Proxy-Require", "foo, bar");
    stranger.send(&invite);
    assert_eq!(stranger.expect(420).values("Unsupported"), ["foo", "bar"]);
    let mut options = stranger.request("OPTIONS", &format!("sip:{}", node.proxy), "x@example.org");
    options.push("Require", "foo, path");
    stranger.send(&options);
    assert_eq!(stranger.expect(420).values("Unsupported"), ["foo"]);
    let weird = stranger.request("INVITE", "mailto:somebody@example.org", "x@example.org");
    stranger.send(&weird);
    stranger.expect(416);
    // A user agent's Require is none of a proxy's business: the challenge comes first.
    let mut invite = stranger.request("INVITE", &aor(&line), "x@example.org");
    invite.push("Require", "foo");
    stranger.send(&invite);
    stranger.expect(407);
}

/// RFC 3261 §11.2: OPTIONS is answered with what we can do.
#[test]
fn what_we_can_do() {
    let node = Node::start();
    for mut client in [Raw::udp(node.proxy), Raw::tcp(node.proxy_tcp)] {
        let options = client.request("OPTIONS", &format!("sip:{}", node.proxy), "x@example.org");
        client.send(&options);
        let ok = client.expect(200);
        for name in ["Accept", "Accept-Encoding", "Accept-Language"] {
            assert!(ok.header(name).is_some(), "{name}: {ok:#?}");
        }
        assert!(ok.values("Allow").contains(&"REGISTER".to_owned()), "{ok:#?}");
        assert!(ok.values("Supported").contains(&"path".to_owned()), "{ok:#?}");
    }
}

/// RFC 3261 §21.4.23: a number that can be read in two ways is answered with 485 and both readings.
#[test]
fn an_ambiguous_number() {
    let node = slow_and_steady().start();
    for (code, domain, extension) in [("7", "s7.example.net", "0201"), ("70", "s70.example.net", "201")] {
        node.cli(&["site", "add", "--name", domain, "--code", code, "--domain", domain]);
        node.add_line(domain, extension);
    }
    let [line] = node.add_lines(["101"]);
    let mut caller = Raw::udp(node.proxy);
    let invite = caller.request("INVITE", "sip:70201@s01.example.net", "101@s01.example.net");
    caller.send_as(&line, &invite);
    let ambiguous = caller.expect(485);
    assert_eq!(ambiguous.values("Contact"), ["<sip:0201@s7.example.net>", "<sip:201@s70.example.net>"]);
}
