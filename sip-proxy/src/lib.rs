//! The stateful proxy: routing, forking, admission.

mod best_response;
pub mod dial_plan;
mod loop_detection;
mod record_route;
