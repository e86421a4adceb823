//! The stateful proxy: routing, forking, admission.

mod best_response;
pub mod dial_plan;
#[cfg(test)]
mod fixture;
mod fork;
mod loop_detection;
mod path;
mod record_route;
mod refusal;
mod resolve;
mod settings;
mod target;
mod validate;
