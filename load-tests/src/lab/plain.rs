//! Instead of tunnels: plain IPv6 routing over the internet, and radvd at the dorm. Shows whether the rest of the lab is sound.

use super::error::LabError;
use super::namespace::Namespace;
use super::plan::{BRIDGE, Dorm, LAN, Plan, WAN};

pub(super) fn backbone(plan: &Plan) -> Result<(), LabError> {
    let internet = Namespace::named(&plan.internet);
    internet.set("ipv6/conf/all/forwarding", "1")?;
    internet.ip(&[
        format!("addr add fe80::1/64 dev {BRIDGE} nodad"),
        format!("route add 2001:db8:c::/64 via fe80::3 dev {BRIDGE}"),
    ])?;
    Namespace::named(&plan.tunnel).ip(&[
        format!("addr add fe80::3/64 dev {WAN} nodad"),
        format!("route add default via fe80::1 dev {WAN}"),
    ])
}

pub(super) fn dorm(plan: &Plan, dorm: &Dorm, prefix: &str) -> Result<String, LabError> {
    let (internet, iad) = (Namespace::named(&plan.internet), Namespace::named(&dorm.iad));
    let line = dorm.line();
    internet.ip(&[
        format!("addr add fe80::1/64 dev {line} nodad"),
        format!("route add {prefix} via fe80::2 dev {line}"),
    ])?;
    iad.set("ipv6/conf/all/forwarding", "1")?;
    let network = prefix.replace("/48", "");
    iad.ip(&[
        format!("addr add fe80::2/64 dev {WAN} nodad"),
        format!("route add default via fe80::1 dev {WAN}"),
        format!("addr add {network}1/64 dev {LAN} nodad"),
    ])?;
    Ok(format!(
        "interface {LAN} {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; \
         prefix {network}/64 {{ AdvOnLink on; AdvAutonomous on; }}; }};\n"
    ))
}
