//! Input that no honest peer sends: an answer or silence, and the agent lives on.

use tokio::net::UdpSocket;
use user_agent::CallOptions;

use crate::{gateway, phone, soon};

#[tokio::test]
async fn nonsense_does_not_stop_an_agent() {
    let gateway = gateway("[::1]:0");
    let attacker = UdpSocket::bind("[::1]:0").await.expect("a socket");
    let via = "Via: SIP/2.0/UDP [::1]:9;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\n";
    let mut inputs: Vec<Vec<u8>> = [
        "",
        "\r\n\r\n",
        "INVITE",
        "INVITE sip:a SIP/2.0\r\n\r\n",
        "SIP/2.0 200 OK\r\n\r\n",
        "SIP/2.0 200 OK\r\nVia: x\r\nCSeq: 1 INVITE\r\nCall-ID: 1\r\nFrom: x\r\n\r\n",
        "ACK sip:a SIP/2.0\r\nVia: ,;,\r\nCSeq: x\r\n\r\n",
        "CANCEL sip:a SIP/2.0\r\nVia: SIP/2.0/UDP [::1\r\nCSeq: 1 CANCEL\r\n\r\n",
        "INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP [::1]:1;branch=\"\\\r\nCSeq: 99999999999 INVITE\r\n\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for (number, sdp) in
        ["v=0", "v=0\r\nm=audio", "v=0\r\nc=IN IP6 ::1\r\nm=audio 70000 RTP/AVP 0", "\u{fffd}", "v=0\r\nx"]
            .iter()
            .enumerate()
    {
        inputs.push(
            format!(
                "INVITE sip:a@b SIP/2.0\r\n{via}{number}\r\nCSeq: 1 INVITE\r\nContact: <\r\nContent-Type: application/sdp\r\n\r\n{sdp}"
            )
            .replace("z9hG4bKx", &format!("z9hG4bKx{number}"))
            .into_bytes(),
        );
    }
    inputs.push(vec![0xff; 60_000]);
    inputs.push(vec![b','; 60_000]);
    // A message with each of its bytes bent in turn.
    let good = format!("INVITE sip:a@b SIP/2.0\r\n{via}CSeq: 1 INVITE\r\nContact: <sip:a@[::1]:9>\r\n\r\n")
        .into_bytes();
    for at in 0..good.len() {
        let mut bent = good.clone();
        bent[at] = bent[at].wrapping_add(at as u8 | 1);
        inputs.push(bent);
    }
    for input in inputs {
        attacker.send_to(&input, gateway.local_addr()).await.expect("sent");
    }
    let phone = phone(&gateway);
    let call = phone.call("100", CallOptions::default()).await.expect("a call");
    soon(call.answered()).await.expect("an answer");
    soon(call.hangup()).await.expect("an answer to BYE");
}
