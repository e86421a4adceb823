//! Via: the keys by which transactions are matched, and the way back (RFC 3261 §17.1.3, §17.2.3, §18.2; RFC 3581).

use std::net::SocketAddr;

use crate::{
    message::Message,
    uri::{host_port, param, split_list, split_outside_quotes},
};

/// §17.1.3: the branch of the top Via and the method in CSeq.
pub(crate) fn client_key(message: &Message) -> Option<String> {
    let branch = top_param(message, "branch")?;
    Some(format!("{branch}|{}", message.cseq()?.1))
}

/// §17.2.3, with the fallback for a peer of RFC 2543 that has no magic cookie.
pub(crate) fn server_key(request: &Message, method: Option<&str>) -> Option<String> {
    let method = method.or(request.method())?;
    let via = request.values("Via").into_iter().next()?;
    let sent_by = via.split(';').next()?.split_whitespace().nth(1)?.to_owned();
    match top_param(request, "branch") {
        Some(branch) if branch.starts_with("z9hG4bK") => Some(format!("{branch}|{sent_by}|{method}")),
        _ => {
            let (number, _) = request.cseq()?;
            let from = request.tag("From").unwrap_or_default();
            let call_id = request.header("Call-ID")?;
            Some(format!("{call_id}|{number}|{from}|{sent_by}|{method}"))
        }
    }
}

fn top_param(message: &Message, name: &str) -> Option<String> {
    let via = message.values("Via").into_iter().next()?;
    let (_, params) = via.split_once(';')?;
    param(params, name).map(str::to_owned)
}

/// Where a response goes: RFC 3581 §4 if `rport` is there, else RFC 3261 §18.2.2.
pub(crate) fn response_address(request: &Message, from: SocketAddr) -> SocketAddr {
    let via = request.values("Via").into_iter().next().unwrap_or_default();
    if top_param(request, "rport").is_some() {
        return from;
    }
    let sent_by = via.split(';').next().and_then(|head| head.split_whitespace().nth(1)).unwrap_or_default();
    SocketAddr::new(from.ip(), host_port(sent_by).1.unwrap_or(5060))
}

/// Adds `received` and the value of `rport` to the top Via of a request that came in (RFC 3581 §4).
pub(crate) fn mark_source(request: &mut Message, from: SocketAddr) {
    let Some(line) = request.header("Via").map(str::to_owned) else { return };
    let (top, rest) =
        split_list(&line).next().map_or(("", ""), |top| (top, line.get(top.len()..).unwrap_or_default()));
    let Some((head, params)) = top.split_once(';') else { return };
    let asks_port = param(params, "rport").is_some();
    let mut marked = head.to_owned();
    for item in split_outside_quotes(params, ';') {
        let name = item.split('=').next().unwrap_or_default().trim();
        if !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received") {
            marked.push_str(&format!(";{item}"));
        }
    }
    let same_host = host_port(head.split_whitespace().nth(1).unwrap_or_default()).0.parse() == Ok(from.ip());
    if !same_host || asks_port {
        marked.push_str(&format!(";received={}", from.ip()));
    }
    if asks_port {
        marked.push_str(&format!(";rport={}", from.port()));
    }
    marked.push_str(rest);
    request.replace("Via", marked);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        "[2001:db8::9]:7000".parse().expect("an address")
    }

    fn options(via: &str) -> Message {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nCSeq: 1 OPTIONS\r\nCall-ID: x\r\n\r\n");
        Message::parse(text.as_bytes()).expect("well formed")
    }

    #[test]
    fn the_source_is_marked_and_answered() {
        let mut request =
            options("SIP/2.0/UDP [2001:db8::1]:5070;rport;branch=z9hG4bKa, SIP/2.0/UDP [::1]:1");
        assert_eq!(response_address(&request, addr()), addr());
        mark_source(&mut request, addr());
        assert_eq!(
            request.header("Via"),
            Some(
                "SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKa;received=2001:db8::9;rport=7000, \
                 SIP/2.0/UDP [::1]:1"
            )
        );
        let request = options("SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKa");
        assert_eq!(response_address(&request, addr()).port(), 5070);
        let request = options("SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKa");
        assert_eq!(response_address(&request, addr()).port(), 5060);
    }
}
