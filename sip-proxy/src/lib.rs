//! The role `registrar-proxy`: a stateful proxy (RFC 3261 §16) with routing, forking and admission, around the registrar.
//!
//! [`ProxyCore`] is a [`sip_core::core::Core`]; `node` drives it, and [`StoreWorld`] answers its questions. A request's way:
//!
//! | file | what it does |
//! | --- | --- |
//! | `validate`, `loop_detection` | may it be looked at at all (§16.3, RFC 5393) |
//! | `path`, `record_route` | takes our own hop off its Route (§16.4); knows the dialogs that we admitted |
//! | `gate` | how much is taken from one source, of one site and in all (RFC 7339 toward translators) |
//! | `admission` | who sends it: REGISTER, OPTIONS, challenges, in-dialog or new |
//! | `in_dialog` | requests whose way is given: a dialog's, a GRUU's, a flow's (RFC 5626, RFC 5627) |
//! | `resolve`, [`dial_plan`] | whom its Request-URI means, and whether the line may |
//! | `target` | the places to try, in groups (§16.5) |
//! | `forward` | sends it there (§16.6) and brings responses back (§16.7) |
//! | `fork`, `best_response` | decides which branches are tried and what goes upstream (§16.7 to §16.10) |
//! | `redirect` | follows a 3xx to other lines (§16.7, step 4) |
//! | `subscribe` | tells a line what its registrations are (RFC 6665, RFC 3680) |
//! | `session_timer` | keeps sessions from staying for ever (RFC 4028 §8) |
//! | `call_table` | the calls that are up, and their records |

mod admission;
mod best_response;
mod call_table;
mod core;
pub mod dial_plan;
#[cfg(test)]
mod fixture;
mod fork;
mod forward;
mod gate;
mod in_dialog;
mod loop_detection;
mod path;
mod record_route;
mod redirect;
mod refusal;
mod resolve;
mod session_timer;
mod settings;
mod subscribe;
mod target;
mod telemetry;
#[cfg(test)]
mod tests;
mod validate;
mod world;

pub use self::core::{Answer, ProxyCore, Question, Shared};
pub use self::fork::Timers;
pub use self::gate::Gate;
pub use self::record_route::RouteSigner;
pub use self::session_timer::SessionPolicy;
pub use self::settings::{ProxyLimits, Settings};
pub use self::world::StoreWorld;
