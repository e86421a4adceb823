//! Any bytes, read as a sequence of what can happen to the dialogs of one INVITE. The fuzz target of this name and a property test run it.

use bytes::Bytes;

use super::tape::Tape;
use super::{End, address};
use crate::dialog::{Dialog, DialogError, DialogSet, Role};
use crate::flow::{Flow, Transport};
use crate::wire::header::{NameAddr, Route, Via};
use crate::wire::{Limits, Message, Method, Uri};

/// Plays the sequence at both ends of an INVITE that may be forked. Panics when a promise of the dialogs is broken:
///
/// - one dialog for each To tag, a bounded number of them, and a confirmed one is never early again;
/// - our requests can be read, name the dialog, take its route set, and their CSeq numbers rise and stay below 2^31;
/// - the peer's CSeq numbers never fall, and what is not the dialog's is not taken;
/// - the route set is fixed once the dialog is confirmed.
pub fn dialog_ops(data: &[u8]) {
    let mut tape = Tape::new(data);
    let text = invite(&mut tape);
    let Ok(invite) = Message::parse(Bytes::from(text), &Limits::default()) else { return };
    let mut server = Dialog::uas(&invite, "server", flow()).ok();
    let mut set = DialogSet::new(invite);
    let mut alone: Option<Dialog> = None;
    while let Some(op) = tape.byte() {
        match op % 8 {
            0..=2 => receive(&mut set, &mut tape),
            3 => {
                let id = set.iter().nth(tape.below(4)).map(|dialog| dialog.id().clone());
                alone = id.and_then(|id| set.take(&id)).or(alone);
            }
            4 => [&mut alone, &mut server].into_iter().flatten().for_each(|dialog| send(dialog, &mut tape)),
            5 => [&mut alone, &mut server].into_iter().flatten().for_each(|dialog| hear(dialog, &mut tape)),
            6 => {
                let response = response(&mut tape);
                let Some(dialog) = &mut alone else { continue };
                let (was, routes) = (dialog.is_confirmed(), dialog.routes().to_vec());
                if dialog.confirm(&response).is_ok() {
                    assert!(dialog.is_confirmed());
                    assert!(
                        !was || dialog.routes() == routes,
                        "the route set of a confirmed dialog has changed"
                    );
                }
            }
            _ => {
                let response = response(&mut tape);
                [&mut alone, &mut server].into_iter().flatten().for_each(|dialog| {
                    let routes = dialog.routes().to_vec();
                    let _ = dialog.refresh_target(&response);
                    assert_eq!(dialog.routes(), routes, "a target refresh leaves the route set alone");
                });
            }
        }
    }
}

fn receive(set: &mut DialogSet, tape: &mut Tape<'_>) {
    let response = response(tape);
    let before: Vec<(String, bool)> =
        set.iter().map(|dialog| (dialog.id().remote_tag.clone(), dialog.is_confirmed())).collect();
    let taken = set.receive(&response, flow()).map(|dialog| dialog.id().clone());
    if let Ok(id) = taken {
        assert_eq!(id.remote_tag, response.to_tag().unwrap_or_default());
    }
    let after: Vec<(&str, bool)> =
        set.iter().map(|dialog| (dialog.id().remote_tag.as_str(), dialog.is_confirmed())).collect();
    assert!(after.len() <= 32 && after.len() <= before.len() + 1);
    for (place, (tag, confirmed)) in after.iter().enumerate() {
        assert!(after.iter().skip(place + 1).all(|(other, _)| other != tag), "two dialogs with one tag");
        let was = before.iter().find(|(known, _)| known == tag).is_some_and(|(_, confirmed)| *confirmed);
        assert!(*confirmed || !was, "a confirmed dialog is early again");
    }
}

fn send(dialog: &mut Dialog, tape: &mut Tape<'_>) {
    let via = Via::new(Transport::Udp, address(End::Left), "z9hG4bKx");
    let before = dialog.local_cseq();
    let request = match tape.below(8) {
        0 => dialog.ack(via, before.unwrap_or(1)).finish(),
        _ => dialog.request(&Method::Info, via, None).finish(),
    };
    let again =
        Message::parse(request.bytes().clone(), &Limits::default()).expect("what we write can be read");
    let number = again.cseq().expect("a CSeq").number;
    if again.is(&Method::Info) {
        let last = before.unwrap_or(0);
        assert!(
            number > last || number == i32::MAX as u32 && last >= number,
            "{last} was followed by {number}"
        );
    }
    assert_eq!(again.call_id(), Ok(dialog.id().call_id.as_str()));
    assert_eq!(again.from_tag().unwrap_or_default(), dialog.id().local_tag);
    assert_eq!(again.to_tag().unwrap_or_default(), dialog.id().remote_tag);
    assert_eq!(again.all::<Route>().filter(Result::is_ok).count(), dialog.routes().len());
    assert!(again.request_uri().is_ok_and(|uri| uri.sip().is_none_or(|uri| uri.headers.is_none())));
    let _ = dialog.next_hop();
}

fn hear(dialog: &mut Dialog, tape: &mut Tape<'_>) {
    let (local, remote) = (dialog.id().local_tag.clone(), dialog.id().remote_tag.clone());
    let (method, number) = (tape.pick(&["INFO", "ACK", "BYE", "CANCEL"]).unwrap_or("INFO"), number(tape));
    let call_id = if tape.below(8) == 7 { "other" } else { dialog.id().call_id.as_str() };
    let (from, to) = if tape.below(8) == 7 { (&local, &remote) } else { (&remote, &local) };
    let text = format!(
        "{method} sip:a@b SIP/2.0\r\nFrom: <sip:a@b>;tag={from}\r\nTo: <sip:a@b>;tag={to}\r\nCall-ID: {call_id}\r\n\
         CSeq: {number} {method}\r\n\r\n"
    );
    let Ok(request) = Message::parse(Bytes::from(text), &Limits::default()) else { return };
    let (owns, before) = (dialog.owns(&request), dialog.remote_cseq());
    let outcome = dialog.receive(&request);
    match outcome {
        Ok(()) => assert!(owns),
        Err(DialogError::Foreign) => assert!(!owns),
        Err(_) => {}
    }
    assert!(dialog.remote_cseq() >= before, "the peer's number has fallen");
    assert!(matches!(dialog.role(), Role::Client | Role::Server));
}

fn flow() -> Flow {
    let (local, remote) = (address(End::Left), address(End::Right));
    Flow { transport: Transport::Udp, local, remote, connection: None }
}

fn number(tape: &mut Tape<'_>) -> u32 {
    match tape.below(4) {
        0 => tape.pick(&[0, i32::MAX as u32 - 1, i32::MAX as u32, u32::MAX]).unwrap_or(0),
        _ => tape.below(256) as u32,
    }
}

fn invite(tape: &mut Tape<'_>) -> String {
    let number = number(tape);
    format!(
        "INVITE sip:b@example.net SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK1\r\n{}From: <sip:a@example.net>{}\r\n\
         To: <sip:b@example.net>\r\nCall-ID: c\r\nCSeq: {number} INVITE\r\n{}\r\n",
        routes(tape),
        if tape.below(8) == 7 { "" } else { ";tag=f" },
        contact(tape),
    )
}

fn response(tape: &mut Tape<'_>) -> Message {
    let code = tape.pick(&[100, 180, 183, 199, 200, 202, 302, 486]).unwrap_or(200);
    let tag = match tape.below(64) {
        0 => String::new(),
        tag => format!(";tag=t{tag}"),
    };
    let text = format!(
        "SIP/2.0 {code} X\r\n{}From: <sip:a@example.net>;tag=f\r\nTo: <sip:b@example.net>{tag}\r\nCall-ID: c\r\n\
         CSeq: 1 INVITE\r\n{}\r\n",
        routes(tape),
        contact(tape),
    );
    Message::parse(Bytes::from(text), &Limits::default()).expect("every part of it is well-formed")
}

fn routes(tape: &mut Tape<'_>) -> String {
    let one = |tape: &mut Tape<'_>| {
        let uris = [
            "sip:p1.example;lr",
            "sip:[2001:db8::5];lr;transport=tcp",
            "sip:strict.example",
            "sip:p2.example;method=INVITE?Subject=x",
            "tel:110",
        ];
        let uri: Uri = tape.pick(&uris).unwrap_or("sip:p").parse().expect("a URI");
        format!("Record-Route: {}\r\n", NameAddr::new(uri))
    };
    (0..tape.below(4)).map(|_| one(tape)).collect()
}

fn contact(tape: &mut Tape<'_>) -> String {
    match tape.below(8) {
        0 => String::new(),
        1 => "Contact: *\r\n".to_owned(),
        2 => "Contact: <nonsense>\r\n".to_owned(),
        3 => "Contact: <sip:a@[2001:db8::7];gr=x?Route=y>\r\n".to_owned(),
        other => format!("Contact: <sip:a@[2001:db8::{other}]>\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_sequence_keeps_the_dialogs_promises(data in vec(any::<u8>(), 0..600)) {
            super::dialog_ops(&data);
        }
    }
}
