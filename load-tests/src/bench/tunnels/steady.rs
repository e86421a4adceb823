//! Whether one tunnel's packets are disturbed while others come, move and go.

use std::time::Duration;

use super::bed::Bed;
use super::subject::{Plane, Receiver};
use super::{Direction, SteadyOptions};
use crate::bench::report::TunnelDelays;
use crate::bench::say;

/// Sends through one tunnel, with nothing else going on and then while thousands of tunnels change.
pub(super) fn run(bed: &Bed, plane: &mut Plane, options: SteadyOptions) -> anyhow::Result<Vec<TunnelDelays>> {
    plane.tell("add 1")?;
    bed.take_first(true)?;
    let mut rows = Vec::new();
    for (round, verb) in ROUNDS {
        say(&format!("tunnels: one at {} packets/s, {round}", options.rate));
        let receiver = Receiver::start(bed)?;
        let time = Duration::from_secs(options.seconds.into());
        // The first packet finds its neighbour.
        let first = bed.send(Direction::Out, 1, 100, Duration::from_millis(100))?;
        if let Some(verb) = verb {
            plane.say(&format!("{verb} {}", time.as_millis()))?;
        }
        let sent = bed.send(Direction::Out, 1, options.rate, time)?;
        let changes = verb.map_or(Ok(0), |_| plane.answer().map(|said| said.changes))?;
        let delays = receiver.stop()?;
        rows.push(TunnelDelays {
            round,
            changes,
            rate: options.rate,
            sent: first + sent,
            arrived: delays.packets as u64,
            median_us: delays.median_us,
            p99_us: delays.p99_us,
            p999_us: delays.p999_us,
            longest_us: delays.longest_us,
        });
    }
    bed.take_first(false)?;
    plane.tell("remove 1")?;
    Ok(rows)
}

/// What the others do, and what the plane is told for that.
const ROUNDS: [(&str, Option<&str>); 2] =
    [("there are none", None), ("10,000 changes a second", Some("churn"))];
