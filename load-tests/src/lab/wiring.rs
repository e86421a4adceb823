//! From the plan to namespaces, cables, addresses and routes. All links are made inside the namespaces, in pairs.

use std::net::Ipv4Addr;

use super::connections;
use super::error::LabError;
use super::namespace::Namespace;
use super::plan::{
    Access, BRIDGE, BROKER, CARRIER, CENTRE, Dorm, GATEWAY, IAD_BEHIND_ROUTER, INSIDE, INTERNET,
    INTERNET_CENTRE, LAN, PHONE, PhonePlan, Plan, ROUTER_LAN, TRUNK_SIDE, TUNNEL_INSIDE, TUNNEL_SERVER, WAN,
};

/// Makes everything of the plan; tells what it is at. What was made stays when something fails.
///
/// # Errors
/// With the first command that fails.
pub(super) fn build(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<(), LabError> {
    for name in plan.namespaces() {
        Namespace::create(name)?;
    }
    progress("internet, centre and carrier");
    backbone(plan)?;
    for dorm in &plan.dorms {
        progress(&format!("cables of site {}", dorm.number));
        line(plan, dorm)?;
        lan(dorm)?;
    }
    Ok(())
}

/// Gives a namespace outside the plan a public address of its own on the internet.
///
/// # Errors
/// When the system refuses.
pub(super) fn attach_host(
    plan: &Plan,
    namespace: &Namespace,
    line: &str,
    address: Ipv4Addr,
) -> Result<(), LabError> {
    access_line(&Namespace::named(&plan.internet), namespace, line)?;
    addresses(&Namespace::named(&plan.internet), namespace, line, address)
}

/// Puts the dorm's end of the access line on another public address; the old one is gone at once, and a router there has forgotten its
/// connections.
///
/// # Errors
/// When the system refuses.
pub(super) fn renumber(plan: &Plan, dorm: &Dorm, from: Ipv4Addr, to: Ipv4Addr) -> Result<(), LabError> {
    let (internet, edge) = (Namespace::named(&plan.internet), Namespace::named(dorm.edge()));
    let line = dorm.line();
    internet.ip(&[format!("addr del {INTERNET} peer {from} dev {line}")])?;
    edge.ip(&[format!("addr del {from} peer {INTERNET} dev {WAN}")])?;
    addresses(&internet, &edge, &line, to)?;
    if dorm.router.is_some() {
        let what = format!("empty the router's table of connections in {}", edge.name());
        edge.inside(connections::forget)?.map_err(LabError::io(what))?;
    }
    Ok(())
}

/// Pulls the access line's cable, or puts it in again, at the internet's end: the dorm sees its carrier go.
///
/// # Errors
/// When the system refuses.
pub(super) fn set_line(plan: &Plan, dorm: &Dorm, up: bool) -> Result<(), LabError> {
    let internet = Namespace::named(&plan.internet);
    internet.ip(&[format!("link set {} {}", dorm.line(), if up { "up" } else { "down" })])
}

/// Internet, centre, carrier.
fn backbone(plan: &Plan) -> Result<(), LabError> {
    let internet = Namespace::named(&plan.internet);
    let centre = Namespace::named(&plan.centre);
    let tunnel = Namespace::named(&plan.tunnel);
    let gateway = Namespace::named(&plan.gateway);
    internet.set("ipv4/ip_forward", "1")?;
    // One network for both machines, bridged in the internet's router.
    internet.ip(&[
        format!("link add name {BRIDGE} type bridge mcast_snooping 0"),
        format!("link set {BRIDGE} up"),
        format!("addr add {INTERNET_CENTRE}/24 dev {BRIDGE}"),
    ])?;
    for (end, machine, address) in [("centre", &centre, BROKER), ("tunnel", &tunnel, TUNNEL_SERVER)] {
        cable(&internet, end, machine, WAN)?;
        internet.ip(&[format!("link set {end} master {BRIDGE}")])?;
        machine.ip(&[
            format!("addr add {address}/24 dev {WAN}"),
            format!("route add default via {INTERNET_CENTRE}"),
        ])?;
    }
    cable(&tunnel, INSIDE, &centre, INSIDE)?;
    // The link needs no detection of duplicates: its two addresses are ours.
    tunnel.ip(&[format!("addr add {TUNNEL_INSIDE}/64 dev {INSIDE} nodad")])?;
    centre.ip(&[
        format!("addr add {CENTRE}/64 dev {INSIDE} nodad"),
        format!("route add default via {TUNNEL_INSIDE}"),
    ])?;
    // Between one dorm's tunnel and another's, and between tunnels and the centre.
    tunnel.set("ipv6/conf/all/forwarding", "1")?;
    cable(&centre, CARRIER, &gateway, PHONE)?;
    centre.ip(&[format!("addr add {TRUNK_SIDE}/24 dev {CARRIER}")])?;
    gateway.ip(&[format!("addr add {GATEWAY}/24 dev {PHONE}")])
}

/// The access line of a dorm, and the broadband router if it has one.
fn line(plan: &Plan, dorm: &Dorm) -> Result<(), LabError> {
    let (internet, edge) = (Namespace::named(&plan.internet), Namespace::named(dorm.edge()));
    access_line(&internet, &edge, &dorm.line())?;
    addresses(&internet, &edge, &dorm.line(), dorm.public_address(0))?;
    if let Some(router) = &dorm.router {
        let (router, iad) = (Namespace::named(router), Namespace::named(&dorm.iad));
        router.set("ipv4/ip_forward", "1")?;
        cable(&router, LAN, &iad, WAN)?;
        router.ip(&[format!("addr add {ROUTER_LAN}/24 dev {LAN}")])?;
        iad.ip(&[
            format!("addr add {IAD_BEHIND_ROUTER}/24 dev {WAN}"),
            format!("route add default via {ROUTER_LAN}"),
        ])?;
        router.nft(&nat(dorm.access))?;
    }
    Ok(())
}

/// Point to point, as PPPoE is: both ends unnumbered but for one address.
fn access_line(internet: &Namespace, edge: &Namespace, line: &str) -> Result<(), LabError> {
    cable(internet, line, edge, WAN)
}

fn addresses(internet: &Namespace, edge: &Namespace, line: &str, address: Ipv4Addr) -> Result<(), LabError> {
    internet.ip(&[format!("addr add {INTERNET} peer {address} dev {line}")])?;
    edge.ip(&[
        format!("addr add {address} peer {INTERNET} dev {WAN}"),
        format!("route replace default via {INTERNET}"),
    ])
}

/// The switch with the IAD and the phones on it. What the IAD does on its LAN is the agent's business.
fn lan(dorm: &Dorm) -> Result<(), LabError> {
    let switch = Namespace::named(&dorm.switch);
    let mut lines =
        vec![format!("link add name {BRIDGE} type bridge mcast_snooping 0"), format!("link set {BRIDGE} up")];
    lines.push(format!(
        "link add name iad type veth peer name {LAN} address {} netns {}",
        dorm.iad_mac(),
        dorm.iad
    ));
    lines.push(format!("link set iad master {BRIDGE} up"));
    for phone in &dorm.phones {
        let port = format!("phone{}", phone.number);
        lines.push(format!(
            "link add name {port} type veth peer name {PHONE} address {} netns {}",
            phone.mac, phone.namespace
        ));
        lines.push(format!("link set {port} master {BRIDGE} up"));
    }
    switch.ip(&lines)?;
    Namespace::named(&dorm.iad).ip(&[format!("link set {LAN} up")])?;
    dorm.phones.iter().try_for_each(plug_in)
}

/// Switches a phone on: it makes its own address as soon as a router advertises a prefix.
fn plug_in(phone: &PhonePlan) -> Result<(), LabError> {
    let namespace = Namespace::named(&phone.namespace);
    let settings = [
        // The interface identifier is the MAC's EUI-64 (RFC 4291 appendix A), and there are no other addresses beside it.
        ("addr_gen_mode", "0"),
        ("use_tempaddr", "0"),
        ("accept_ra", "1"),
        // Ask for an advertisement at once, and go on asking (RFC 4861 §6.3.7 gives up after three).
        ("router_solicitation_delay", "0"),
        ("router_solicitation_interval", "1"),
        ("router_solicitations", "-1"),
    ];
    for (name, value) in settings {
        namespace.set(&format!("ipv6/conf/{PHONE}/{name}"), value)?;
    }
    namespace.ip(&[format!("link set {PHONE} up")])
}

/// A veth pair between two namespaces, both ends up.
fn cable(one: &Namespace, one_end: &str, other: &Namespace, other_end: &str) -> Result<(), LabError> {
    let add = format!("link add name {one_end} type veth peer name {other_end} netns {}", other.name());
    one.ip(&[add, format!("link set {one_end} up")])?;
    other.ip(&[format!("link set {other_end} up")])
}

/// What a broadband router does: NAT for the house, and, if it is a good one, protocol 41 both ways.
fn nat(access: Access) -> String {
    let mut script = format!(
        "table ip nat {{\n\
         chain out {{ type nat hook postrouting priority srcnat; oifname \"{WAN}\" masquerade; }}\n"
    );
    match access {
        Access::RouterWithout41 => script.push_str(
            "chain pass { type filter hook forward priority filter; ip protocol 41 drop; }\n",
        ),
        _ => script.push_str(&format!(
            "chain in {{ type nat hook prerouting priority dstnat; iifname \"{WAN}\" ip protocol 41 dnat to {IAD_BEHIND_ROUTER}; }}\n"
        )),
    }
    script + "}\n"
}
