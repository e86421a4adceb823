//! The benchmarks run to their end with tiny numbers, and nothing is lost. What they measure is not looked at.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // Tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use load_tests::sipp::Sipp;
use serde_json::Value;

#[test]
fn registrations_are_all_granted_and_a_refresh_costs_no_commit() {
    let Some(report) = bench(&["registrations", "--phones", "40", "--at-once", "8"]) else { return };
    let rows = report["registrations"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report:#}");
    for row in rows {
        assert_eq!((&row["registrations"], &row["failures"]), (&40.into(), &0.into()), "{row:#}");
    }
    assert!(rows[0]["commits"].as_u64() > Some(0), "{report:#}");
    // A sign of life may fall into the round.
    assert!(rows[1]["commits"].as_u64() < Some(5), "{report:#}");
}

#[test]
fn calls_reach_the_gateway_and_end() {
    let Some(report) = bench(&["calls", "--rates", "5", "--seconds", "2"]) else { return };
    let row = &report["calls"][0];
    assert_eq!((&row["calls"], &row["failures"]), (&10.into(), &0.into()), "{report:#}");
}

#[test]
fn media_is_relayed_by_the_platform_and_by_the_forwarder() {
    let Some(report) = bench(&["relay", "--calls", "2", "--seconds", "1"]) else { return };
    let rows = report["relay"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report:#}");
    for row in rows {
        assert!(row["packets"].as_u64() > Some(0), "{row:#}");
        assert_eq!(row["corrupted"], 0, "{row:#}");
    }
}

#[test]
fn a_missing_binary_is_told_with_the_remedy() {
    if !have_sipp() {
        return;
    }
    let output = load_tests(&["bench", "calls", "--binary", "/nowhere/centrex6"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("cargo build --release"), "{said}");
}

/// The report of a benchmark of the platform alone; `None` when something is missing here.
fn bench(arguments: &[&str]) -> Option<Value> {
    let (true, Some(binary)) = (have_sipp(), platform()) else { return None };
    let mut command = load_tests(&["bench"]);
    let output =
        command.args(arguments).args(["--json", "--no-peers", "--binary"]).arg(binary).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn load_tests(arguments: &[&str]) -> Command {
    let mut command = Command::new(OWN);
    command.args(arguments);
    command
}

fn have_sipp() -> bool {
    present(Sipp::check().is_ok(), "sipp is missing: ./test installs it as root")
}

/// The platform's binary of the same profile; cargo builds it for the workspace, not for this crate alone.
fn platform() -> Option<PathBuf> {
    let binary = Path::new(OWN).with_file_name("centrex6");
    present(binary.exists(), "the platform's binary is missing: run `cargo build` first").then_some(binary)
}

/// Says so and goes on without; under CI=true it fails.
fn present(found: bool, remedy: &str) -> bool {
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{remedy}");
        eprintln!("SKIPPED: {remedy}");
    }
    found
}

const OWN: &str = env!("CARGO_BIN_EXE_load-tests");
