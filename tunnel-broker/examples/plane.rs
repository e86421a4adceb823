//! A tunnel server's data plane without a broker, driven by lines on standard input; the benchmark of the tunnels runs it.
//!
//!     plane <device> <our IPv4 address> <our IPv6 address> <own network>...
//!
//! | line | what happens |
//! | --- | --- |
//! | `add <n>` | raises tunnels 0 to n-1: number i leads to `2001:db8:<i>::/48` at 10.0.0.0 + i + 1 |
//! | `move <n>` | gives tunnels 0 to n-1 other far ends, and then their own again |
//! | `remove <n>` | takes them down |
//! | `counters` | nothing |
//!
//! Each line is answered with one line of JSON: the seconds that it took, and the counters afterwards. It ends with its input.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::time::Instant;

use serde_json::json;
use tunnel_broker::plane::{DataPlane, PlaneSettings, UserPlane};
use tunnel_broker::{Grant, Outer, TunnelId};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(device), Some(local), Some(address)) = (words.next(), words.next(), words.next()) else {
        return Err("usage: plane <device> <our IPv4 address> <our IPv6 address> <own network>...".into());
    };
    let local = local.parse()?;
    let own = words.map(|word| word.parse()).collect::<Result<_, _>>()?;
    let plane =
        UserPlane::start(PlaneSettings { own, ..PlaneSettings::new(device, local, address.parse()?) })?;
    let tell = |started: Instant| {
        let seconds = started.elapsed().as_secs_f64();
        let counters = plane.counters();
        let relay = &counters.relay;
        let dropped: u64 =
            tunnel_broker::tunnel::DropReason::ALL.map(|reason| relay.dropped(reason)).iter().sum();
        let line = json!({
            "seconds": seconds, "tunnels": counters.tunnels,
            "to_inside": relay.to_inside, "to_tunnel": relay.to_tunnel, "turned": relay.turned,
            "dropped": dropped, "overflows": counters.overflows,
        });
        writeln!(io::stdout(), "{line}")
    };
    tell(Instant::now())?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, count) = line.split_once(' ').unwrap_or((&line, "0"));
        let count: u32 = count.parse()?;
        let started = Instant::now();
        match verb {
            "add" => {
                (0..count).try_for_each(|number| plane.add(id(number), ends(local, number), grant(number)))?
            }
            "move" => {
                (0..count).try_for_each(|number| plane.move_to(id(number), ends(local, number + AWAY)))?;
                (0..count).try_for_each(|number| plane.move_to(id(number), ends(local, number)))?;
            }
            "remove" => (0..count).try_for_each(|number| plane.remove(id(number)))?,
            "counters" => {}
            other => return Err(format!("what is `{other}`?").into()),
        }
        tell(started)?;
    }
    Ok(())
}

fn id(number: u32) -> TunnelId {
    TunnelId(number.into())
}

fn ends(server: Ipv4Addr, number: u32) -> Outer {
    Outer { client: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + number), server }
}

fn grant(number: u32) -> Grant {
    let prefix = std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number) << 80);
    Grant { prefix: ipnet::Ipv6Net::new(prefix, 48).ok(), link: None }
}

/// So far off are the other far ends.
const AWAY: u32 = 1 << 20;
