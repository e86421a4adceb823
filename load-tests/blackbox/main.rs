//! Black-box tests: the real binary, with sipp and simulated phones around it. One file a behaviour.
//!
//! Every test has a node of its own on ports that the system handed out, and nodes and programs end with their test.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // Tests.

mod address_plan;
mod admin_port;
mod baresip;
mod busy;
mod cancel;
mod command_line;
mod drain;
mod early_dialogs;
mod extensions;
mod failover;
mod forking;
mod glare;
mod hold;
mod hostile_input;
mod identity;
mod inbound_call;
mod internal_call;
mod kamailio;
mod ladder;
mod loops;
mod lossy;
mod masking;
mod media_ports;
mod no_answer;
mod outbound_call;
mod passing;
mod record_route;
mod redirection;
mod registration;
mod reliable_provisional;
mod restart;
mod session_refresh;
mod session_timers;
mod sipsak;
mod strangers;
mod strays;
mod support;
mod tls;
mod tls_trunk;
mod torture;
mod tunnel_accounts;
mod tunnel_broker;
mod two_nodes;
mod unknown_number;
mod update_before_answer;
mod watching;
mod websocket;
mod wrong_password;
mod wrong_site;
