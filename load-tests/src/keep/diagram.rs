//! The lab as a picture in text.

use std::fmt::Write;

use load_tests::lab::{Machine, PhoneStatus, SiteStatus, Status};
use serde_json::Value;

/// Draws it.
pub(super) fn draw(status: &Status) -> String {
    let mut text = format!("lab {}, files in {}\n\n", status.name, status.folder);
    let (gateway, centre): (Vec<_>, Vec<_>) =
        status.machines.iter().partition(|machine| machine.name == "gateway");
    for machine in gateway {
        line(&mut text, &format!("  {}", shown(machine)));
        line(&mut text, "     │ carrier's network");
    }
    for machine in centre {
        line(&mut text, &format!("  {}", shown(machine)));
    }
    line(&mut text, "     │");
    line(&mut text, "  IPv4 internet");
    for (at, site) in status.sites.iter().enumerate() {
        draw_site(&mut text, site, at + 1 == status.sites.len());
    }
    text.push('\n');
    let phones = || status.sites.iter().flat_map(|site| &site.phones);
    let registered = phones().filter(|phone| phone.registered).count();
    let _ = writeln!(text, "{registered} of {} phones registered", phones().count());
    match status.alarms.as_slice() {
        [] => text.push_str("no alarms\n"),
        alarms => alarms.iter().for_each(|alarm| line(&mut text, &shown_alarm(alarm))),
    }
    text
}

fn draw_site(text: &mut String, site: &SiteStatus, last: bool) {
    let (branch, below) = if last { ("└", " ") } else { ("├", "│") };
    let cable = if site.line_up { "──" } else { "─╳─ line cut ─" };
    let iad = match site.pid {
        Some(pid) => format!("IAD {} (pid {pid})", site.iad),
        None => format!("IAD {} (no power)", site.iad),
    };
    let way = match &site.router {
        None => format!("{} {iad}", site.address),
        Some(router) => {
            let forwards = if router.forwards_41 { "forwards protocol 41" } else { "drops protocol 41" };
            format!("{} router {} (NAT, {forwards}) ── {iad}", site.address, router.namespace)
        }
    };
    line(text, &format!("     {branch}{cable} site {} (code {}) {way}", site.number, site.code));
    let tunnel = site.tunnel.as_deref().unwrap_or("unknown");
    let limit = match site.neighbour_limit {
        0 => String::new(),
        limit => format!(", at most {limit} neighbours"),
    };
    line(text, &format!("     {below}     {}, tunnel {tunnel}{limit}", site.prefix));
    for (at, phone) in site.phones.iter().enumerate() {
        let branch = if at + 1 == site.phones.len() { "└─" } else { "├─" };
        line(text, &format!("     {below}     {branch} {}", shown_phone(phone)));
    }
}

fn shown(machine: &Machine) -> String {
    let pid = machine.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    format!("{} {} {}{pid}", machine.name, machine.namespace, machine.addresses.join(" "))
}

fn shown_phone(phone: &PhoneStatus) -> String {
    let PhoneStatus { label, extension, number, address, registered, trouble, .. } = phone;
    let address = address.as_deref().unwrap_or("no address");
    let state = match (registered, trouble) {
        (true, _) => "registered",
        (false, Some(trouble)) => trouble,
        (false, None) => "not registered",
    };
    format!("{label}  {extension}, {number}  {address}  {state}")
}

fn shown_alarm(alarm: &Value) -> String {
    let field = |name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
    format!("alarm: {} {}: {} {}", field("kind"), field("subject"), field("cause"), field("remedy"))
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use load_tests::lab::Router;

    use super::*;

    #[test]
    fn everything_that_matters_is_in_the_picture() {
        let phone = |label: &str, registered: bool| PhoneStatus {
            label: label.to_owned(),
            namespace: "cx6-lab-s1p1".to_owned(),
            extension: "101".to_owned(),
            number: "+81312340101".to_owned(),
            address: registered.then(|| "2001:db8:8000:0:c6:ff:fe00:101".to_owned()),
            registered,
            trouble: None,
        };
        let site = |number, router: Option<Router>| SiteStatus {
            number,
            code: "8001".to_owned(),
            prefix: "2001:db8:8000::/48".to_owned(),
            address: "203.0.113.11".to_owned(),
            router,
            iad: "cx6-lab-s1iad".to_owned(),
            pid: None,
            line_up: false,
            tunnel: Some("down".to_owned()),
            neighbour_limit: 8,
            phones: vec![phone("1/1", true), phone("1/2", false)],
        };
        let router = Router { namespace: "cx6-lab-s2router".to_owned(), forwards_41: false };
        let status = Status {
            name: "lab".to_owned(),
            folder: "/run/centrex6-lab/lab".to_owned(),
            machines: vec![Machine {
                name: "centre".to_owned(),
                namespace: "cx6-lab-centre".to_owned(),
                addresses: vec!["198.51.100.10".to_owned()],
                pid: Some(7),
            }],
            sites: vec![site(1, None), site(2, Some(router))],
            alarms: vec![
                serde_json::json!({"kind": "tunnel_down", "subject": "site 1", "cause": "C.", "remedy": "R."}),
            ],
        };
        let text = draw(&status);
        for part in [
            "centre cx6-lab-centre 198.51.100.10 (pid 7)",
            "├─╳─ line cut ─ site 1 (code 8001) 203.0.113.11 IAD cx6-lab-s1iad (no power)",
            "2001:db8:8000::/48, tunnel down, at most 8 neighbours",
            "├─ 1/1  101, +81312340101  2001:db8:8000:0:c6:ff:fe00:101  registered",
            "└─ 1/2  101, +81312340101  no address  not registered",
            "router cx6-lab-s2router (NAT, drops protocol 41)",
            "2 of 4 phones registered",
            "alarm: tunnel_down site 1: C. R.",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
