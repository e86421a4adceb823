//! A tunnel server's data plane without a broker, driven by lines on standard input; the benchmark of the tunnels runs it.
//!
//!     plane <device> <our IPv4 address> <our IPv6 address> <own network>...
//!
//! | line | what happens |
//! | --- | --- |
//! | `add <n>` | raises tunnels 0 to n-1: number i leads to `2001:db8:<i>::/48` at 10.0.0.0 + i + 1 |
//! | `move <n>` | gives tunnels 0 to n-1 other far ends, and then their own again |
//! | `remove <n>` | takes them down |
//! | `churn <ms>` | raises, moves and removes tunnels 1 to 100 again and again for that long, 10,000 changes a second |
//! | `counters` | nothing |
//!
//! Each line is answered with one line of JSON: how often a tunnel was changed, the processor time of that in seconds, and the
//! counters afterwards. It ends with its input.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;
use tunnel_broker::plane::{DataPlane, PlaneError, PlaneSettings, UserPlane};
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
    let tell = |changes: u64, cpu: Duration| {
        let counters = plane.counters();
        let relay = &counters.relay;
        let dropped: u64 =
            tunnel_broker::tunnel::DropReason::ALL.map(|reason| relay.dropped(reason)).iter().sum();
        let line = json!({
            "changes": changes, "cpu_s": cpu.as_secs_f64(), "tunnels": counters.tunnels,
            "to_inside": relay.to_inside, "to_tunnel": relay.to_tunnel, "turned": relay.turned,
            "dropped": dropped, "overflows": counters.overflows,
        });
        writeln!(io::stdout(), "{line}")
    };
    let add = |number| plane.add(id(number), ends(local, number), grant(number));
    let away = |number| plane.move_to(id(number), ends(local, number + AWAY));
    let back = |number| plane.move_to(id(number), ends(local, number));
    let remove = |number| plane.remove(id(number));
    tell(0, Duration::ZERO)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, count) = line.split_once(' ').unwrap_or((&line, "0"));
        let count: u32 = count.parse()?;
        let before = own_cpu()?;
        let changes = match verb {
            "add" => (0..count).try_for_each(add).map(|()| count.into())?,
            "move" => {
                (0..count).try_for_each(away)?;
                (0..count).try_for_each(back).map(|()| 2 * u64::from(count))?
            }
            "remove" => (0..count).try_for_each(remove).map(|()| count.into())?,
            "churn" => {
                let started = Instant::now();
                let (mut changes, mut due) = (0, started);
                while started.elapsed() < Duration::from_millis(count.into()) {
                    let steps: [&dyn Fn(u32) -> Result<(), PlaneError>; 3] = [&add, &away, &remove];
                    for step in steps {
                        (1..=FEW).try_for_each(step)?;
                        due += PAUSE;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    changes += 3 * u64::from(FEW);
                }
                changes
            }
            "counters" => 0,
            other => return Err(format!("what is `{other}`?").into()),
        };
        tell(changes, own_cpu()?.saturating_sub(before))?;
    }
    Ok(())
}

/// The processor time of this thread.
fn own_cpu() -> io::Result<Duration> {
    // The system brings the number up to date when it chooses what runs next.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|number| number.parse().ok());
    nanos
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("the system does not tell processor times"))
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

/// How many tunnels change at a time, …
const FEW: u32 = 100;
/// … and how long it is from them to the next.
const PAUSE: Duration = Duration::from_millis(10);
/// So far off are the other far ends.
const AWAY: u32 = 1 << 20;
