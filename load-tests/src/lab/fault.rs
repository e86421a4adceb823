//! A router whose neighbour table is full.

use super::error::LabError;
use super::namespace::Namespace;
use super::plan::{Dorm, LAN};

/// Lets the IAD know only so many neighbours on its LAN; 0 lifts the limit.
///
/// The kernel's own table counts for the whole machine and is left alone. A set of limited size stands for the full router: nothing comes
/// from a phone that finds no room in it, and nothing goes to it once the IAD looks for it in vain. As in a router a phone takes two
/// places, its link-local and its global address; both come with its MAC, so that a set of half the size holds the MACs.
pub(super) fn limit_neighbours(dorm: &Dorm, limit: u16) -> Result<(), LabError> {
    let iad = Namespace::named(&dorm.iad);
    // Deletes what is there, if anything is.
    let mut script = format!("table ip6 {FULL}\ndelete table ip6 {FULL}\n");
    if limit > 0 {
        let phones = limit.div_ceil(PLACES);
        script.push_str(&format!(
            "table ip6 {FULL} {{\n\
             set phones {{ type ether_addr; size {phones}; flags dynamic; }}\n\
             chain in {{\n\
             type filter hook prerouting priority raw;\n\
             iifname != \"{LAN}\" accept\n\
             ip6 saddr :: accept\n\
             ether saddr @phones accept\n\
             add @phones {{ ether saddr }} accept\n\
             drop\n\
             }}\n\
             }}\n"
        ));
    }
    iad.nft(&script).map(drop)
}

/// Entries that a phone takes.
const PLACES: u16 = 2;
/// The table's name.
const FULL: &str = "neighbours";
