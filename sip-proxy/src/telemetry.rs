//! What the proxy counts. Labels have few values: nothing that an outsider can grow.

use sip_core::wire::{Method, StatusCode};

use crate::validate::is_known;

/// A request was taken up.
pub(crate) fn request(method: &Method) {
    let label = if is_known(method) { method.to_string() } else { "other".to_owned() };
    metrics::counter!("centrex6_proxy_requests_total", "method" => label).increment(1);
}

/// A final response went upstream; our own and forwarded ones.
pub(crate) fn response(status: StatusCode) {
    let class = match status.class() {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "6xx",
    };
    metrics::counter!("centrex6_proxy_responses_total", "class" => class).increment(1);
}

/// A request was sent to a target.
pub(crate) fn branch() {
    metrics::counter!("centrex6_proxy_branches_total").increment(1);
}

/// A message was dropped without an answer.
pub(crate) fn dropped(reason: &'static str) {
    metrics::counter!("centrex6_proxy_drops_total", "reason" => reason).increment(1);
}

/// A call record could not be saved.
pub(crate) fn record_lost() {
    metrics::counter!("centrex6_proxy_call_records_lost_total").increment(1);
}

/// A new request or call was refused because there were too many of them.
pub(crate) fn shed(scope: &'static str) {
    metrics::counter!("centrex6_proxy_shed_total", "scope" => scope).increment(1);
}
