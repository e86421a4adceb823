//! `centrex6 demo`: the whole platform at work on one machine, checked from outside by phones that share no code with it.

mod narrator;
mod report;
mod scene;
mod stage;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use narrator::Narrator;
use report::Report;
use scene::Scene;
use stage::Stage;

/// What the user can choose.
#[derive(Args, Clone)]
pub(crate) struct DemoArgs {
    /// End after the calls; exit code 0 only if all was as it should be
    #[arg(long)]
    once: bool,
    /// IPv6 address that the platform listens on, for a phone of your own on another machine
    #[arg(long, default_value = "::1", value_name = "ADDRESS")]
    address: std::net::Ipv6Addr,
    /// IPv4 address of the side where the gateway is
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    trunk_address: std::net::Ipv4Addr,
    /// SIP port of the proxy; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// RTP packets that each side of a call sends, 50 a second
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    packets: u64,
    /// Spoil one byte of one RTP packet on its way, to see that the demo notices (it then exits with 1)
    #[arg(long)]
    spoil: bool,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs, json: bool) -> anyhow::Result<ExitCode> {
    let quiet = node::config::Log { level: "warn".to_owned(), ..node::config::Log::default() };
    let _logs = node::telemetry::install_logs(&quiet);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let narrator = Narrator::new(json);
        let (stage, report) = perform(args, &narrator).await?;
        if json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            narrator.say(&report.summary());
        }
        if !args.once {
            narrator.say(&stage.invitation());
            tokio::signal::ctrl_c().await?;
            narrator.say("closing");
        }
        stage.close().await?;
        Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Sets the stage and plays every scene.
async fn perform(args: &DemoArgs, narrator: &Narrator) -> anyhow::Result<(Stage, Report)> {
    narrator.step("starting the platform on an embedded store");
    let stage = Stage::set(args, narrator).await?;
    let mut outcomes = Vec::new();
    for scene in Scene::all() {
        narrator.step(&format!("{}: {}", scene.kind(), stage.describe(scene)));
        let outcome = tokio::time::timeout(PATIENCE, scene.play(&stage, args)).await;
        let outcome = outcome.unwrap_or_else(|_| scene.gave_up(&stage, PATIENCE));
        narrator.say(&format!("   {}", outcome.line()));
        outcomes.push(outcome);
    }
    narrator.step("comparing with the call records");
    let report = Report::new(&stage, outcomes).await?;
    Ok((stage, report))
}

/// The address as the host part of a URI.
fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// How long one call of the demo may take, beyond the media that the user asked for.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn args(spoil: bool) -> DemoArgs {
        DemoArgs {
            once: true,
            address: std::net::Ipv6Addr::LOCALHOST,
            trunk_address: std::net::Ipv4Addr::LOCALHOST,
            port: 0,
            packets: 15,
            spoil,
        }
    }

    async fn play(spoil: bool) -> Report {
        let (stage, report) = perform(&args(spoil), &Narrator::new(true)).await.unwrap();
        stage.close().await.unwrap();
        report
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_call_is_as_it_should_be() {
        let report = play(false).await;
        assert!(report.ok, "{}", report.summary());
        assert_eq!(report.phones_registered, 12);
        assert_eq!(report.calls.len(), Scene::all().count());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_spoiled_byte_is_noticed() {
        let report = play(true).await;
        assert!(!report.ok);
        let bad: Vec<_> = report.calls.iter().filter(|call| !call.ok).collect();
        assert_eq!(bad.len(), 1, "{}", report.summary());
        assert!(bad[0].problems.iter().any(|problem| problem.contains("changed")), "{:?}", bad[0].problems);
    }
}
