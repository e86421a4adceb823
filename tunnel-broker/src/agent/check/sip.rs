//! Asks the SIP centre whether it is there: OPTIONS over UDP (RFC 3261 §11).

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Sends OPTIONS from one of our addresses; gives the status line of the answer, whatever it is: who answers is there.
pub(super) async fn options(source: Ipv6Addr, centre: SocketAddrV6, word: u64) -> io::Result<Option<String>> {
    let socket = UdpSocket::bind(SocketAddrV6::new(source, 0, 0, 0)).await?;
    let port = socket.local_addr()?.port();
    let request = request(source, port, centre, word);
    for pause in PAUSES {
        socket.send_to(request.as_bytes(), SocketAddr::from(centre)).await?;
        let until = Instant::now() + pause;
        let mut bytes = [0; 2048];
        while let Ok(received) = timeout_at(until, socket.recv_from(&mut bytes)).await {
            let (len, from) = received?;
            let answer = bytes.get(..len).unwrap_or_default();
            if from.ip() == *centre.ip()
                && let Some(line) = status_line(answer, word)
            {
                return Ok(Some(line));
            }
        }
    }
    Ok(None)
}

fn request(source: Ipv6Addr, port: u16, centre: SocketAddrV6, word: u64) -> String {
    format!(
        "OPTIONS sip:{centre} SIP/2.0\r\n\
         Via: SIP/2.0/UDP [{source}]:{port};branch=z9hG4bK{word:016x};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:iad@[{source}]>;tag={word:016x}\r\n\
         To: <sip:{centre}>\r\n\
         Call-ID: {word:016x}@[{source}]\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:iad@[{source}]:{port}>\r\n\
         Accept: application/sdp\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The status line without the version, when this answers our request.
fn status_line(answer: &[u8], word: u64) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let line = text.strip_prefix("SIP/2.0 ")?.lines().next()?;
    let is_ours = text.contains(&format!("z9hG4bK{word:016x}"));
    let is_final = !line.starts_with('1');
    let shown = line.chars().take(60).map(|c| if c.is_control() { '?' } else { c });
    (is_ours && is_final).then(|| shown.collect())
}

/// When the request is sent again, as RFC 3261 §17.1.2.2 does.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole() {
        let centre: SocketAddrV6 = "[2001:db8:c::5]:5060".parse().unwrap();
        let request = request("2001:db8:1::1".parse().unwrap(), 40_000, centre, 7);
        assert!(request.starts_with(
            "OPTIONS sip:[2001:db8:c::5]:5060 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8:1::1]:40000;"
        ));
        assert!(
            request.ends_with("Content-Length: 0\r\n\r\n")
                && request.contains("branch=z9hG4bK0000000000000007")
        );
    }

    #[test]
    fn any_final_answer_to_it_counts() {
        let answer = |first: &str, word: u64| {
            format!("{first}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{word:016x}\r\n\r\n")
        };
        let line = |text: String| status_line(text.as_bytes(), 7);
        assert_eq!(line(answer("SIP/2.0 200 OK", 7)), Some("200 OK".into()));
        assert_eq!(line(answer("SIP/2.0 405 Method Not Allowed", 7)), Some("405 Method Not Allowed".into()));
        assert_eq!(line(answer("SIP/2.0 100 Trying", 7)), None);
        assert_eq!(line(answer("SIP/2.0 200 OK", 8)), None);
        assert_eq!(line(answer("OPTIONS sip:x SIP/2.0", 7)), None);
        assert_eq!(status_line(&[0xff, 0xfe], 7), None);
    }
}
