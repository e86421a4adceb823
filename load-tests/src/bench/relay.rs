//! Relayed media: what one RTP packet costs, beside the least that it can cost and beside rtpengine.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use load_tests::node::{Node, Setup};
use load_tests::ports;
use user_agent::{
    Call, CallOptions, DirectionReport, Gateway, GatewayConfig, Media, MediaOptions, MediaSession, Phone,
    PhoneConfig,
};

use super::baseline::Forwarder;
use super::report::Relay;
use super::rtpengine::Rtpengine;
use super::{Bench, PASSWORD, micros_each, ratio, say};

#[derive(Args)]
pub(super) struct Options {
    /// How many calls at a time; each sends 50 packets a second in each direction
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    calls: u16,
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
}

impl Options {
    pub(super) fn short() -> Options {
        Options { calls: 100, seconds: 8 }
    }
}

pub(super) fn run(bench: &Bench, options: &Options) -> anyhow::Result<Vec<Relay>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut rows = vec![platform(bench, options).await?, baseline(options).await?];
        if bench.peers && Rtpengine::is_installed() {
            rows.push(rtpengine(bench, options).await?);
        } else {
            say("relay: rtpengine is not installed, or not wanted: no ratio");
        }
        let own = rows.first().and_then(|row| row.cpu_us_each);
        for row in rows.iter_mut().skip(1) {
            row.platform_ratio = ratio(own, row.cpu_us_each);
        }
        Ok(rows)
    })
}

/// Real calls, from IPv6 phones to an IPv4 gateway.
async fn platform(bench: &Bench, options: &Options) -> anyhow::Result<Relay> {
    // Four ports a call, shared out among the workers, and room for an uneven share.
    let count = (options.calls * 8).max(64);
    let first = ports::free_range(count)?;
    let node = Setup::new(&bench.binary)
        .set("NODE__WORKERS", &bench.workers.to_string())
        .set("LOG__LEVEL", "warn")
        .set("TRANSLATOR__MEDIA_PORTS", &format!("{first}-{}", first + count - 1))
        .start()?;
    say(&format!("relay: {} calls through node {}", options.calls, node.process().pid()));
    let gateway = GatewayConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), node.trunk_side);
    let gateway = Gateway::bind(gateway)?;
    node.add_trunk("bench", gateway.local_addr())?;
    let (_phones, calls) = set_up(&node, &gateway, usize::from(options.calls)).await?;
    let streams: Vec<Stream> =
        calls.iter().map(|(one, other)| Stream::of(one.media(), other.media())).collect();
    let row = measure("Centrex6", options, &streams, || Ok(node.process().cpu()?)).await?;
    for (call, _) in &calls {
        call.hangup().await.context("a call could not be ended")?;
    }
    let log = node.stop()?;
    anyhow::ensure!(!log.contains("panicked"), "the node panicked:\n{log}");
    Ok(row)
}

/// Makes calls one after the other; gives the phones, which must live as long as the calls, and both ends of each call.
async fn set_up(
    node: &Node,
    gateway: &Gateway,
    count: usize,
) -> anyhow::Result<(Vec<Phone>, Vec<(Call, Call)>)> {
    let lines = node.add_lines(count.div_ceil(CALLS_A_LINE), 90, PASSWORD)?;
    let (mut phones, mut calls) = (Vec::new(), Vec::new());
    for line in lines {
        let local = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let config = PhoneConfig::new(local, node.proxy, &line.extension, &line.domain, &line.password);
        let phone = Phone::bind(PhoneConfig { auth_user: line.auth_user, ..config })?;
        for _ in 0..CALLS_A_LINE.min(count - calls.len()) {
            let call = phone.call(DIALLED, CallOptions::default()).await?;
            tokio::time::timeout(PATIENCE, call.answered())
                .await
                .context("a call was not answered in time")??;
            let other = tokio::time::timeout(PATIENCE, gateway.next_call()).await;
            calls.push((call, other.context("the gateway did not get a call in time")?));
        }
        phones.push(phone);
    }
    Ok((phones, calls))
}

/// The same streams through a bare forwarder.
async fn baseline(options: &Options) -> anyhow::Result<Relay> {
    say("relay: the same streams through a bare forwarder");
    let forwarder = Forwarder::start(usize::from(options.calls))?;
    let sessions: Vec<_> = open(options)?;
    for ((phone, trunk), (v6, v4)) in sessions.iter().zip(&forwarder.calls) {
        phone.connect(*v6, true);
        trunk.connect(*v4, true);
    }
    let streams: Vec<Stream> =
        sessions.iter().map(|(one, other)| Stream::of(one.media(), other.media())).collect();
    measure("bare forwarder", options, &streams, || Ok(forwarder.process().cpu()?)).await
}

/// The same streams through rtpengine.
async fn rtpengine(bench: &Bench, options: &Options) -> anyhow::Result<Relay> {
    say("relay: the same streams through rtpengine");
    let mut rtpengine = Rtpengine::start(usize::from(options.calls), bench.workers)?;
    let sessions: Vec<_> = open(options)?;
    for (at, (phone, trunk)) in sessions.iter().enumerate() {
        let (v6, v4) = rtpengine.call(&format!("call-{at}"), phone.local_addr(), trunk.local_addr())?;
        phone.connect(v6, true);
        trunk.connect(v4, true);
    }
    let streams: Vec<Stream> =
        sessions.iter().map(|(one, other)| Stream::of(one.media(), other.media())).collect();
    measure("rtpengine", options, &streams, || Ok(rtpengine.process().cpu()?)).await
}

fn open(options: &Options) -> anyhow::Result<Vec<(MediaSession, MediaSession)>> {
    let media = MediaOptions::default();
    let pair = |_| {
        let phone = MediaSession::open(Ipv6Addr::LOCALHOST.into(), &media)?;
        Ok((phone, MediaSession::open(Ipv4Addr::LOCALHOST.into(), &media)?))
    };
    (0..options.calls).map(pair).collect()
}

/// Both ends of a call.
struct Stream {
    phone: Media,
    trunk: Media,
}

impl Stream {
    fn of(phone: &Media, trunk: &Media) -> Stream {
        Stream { phone: phone.clone(), trunk: trunk.clone() }
    }

    fn received(&self) -> u64 {
        self.phone.report().received + self.trunk.report().received
    }
}

/// Lets the streams flow, looks at processor time and packets at two moments, and then stops them and counts what is missing.
///
/// Processor time and packets are those of the time between; what was lost or changed is that of the whole life of the streams.
async fn measure(
    subject: &'static str,
    options: &Options,
    streams: &[Stream],
    cpu: impl Fn() -> anyhow::Result<Duration>,
) -> anyhow::Result<Relay> {
    // The first packets may come before both sides know each other: in the forwarder, they are lost by design.
    tokio::time::sleep(SETTLE).await;
    let head: u64 = streams.iter().map(lost).sum();
    let received = || streams.iter().map(Stream::received).sum::<u64>();
    let (began, cpu_before, before) = (Instant::now(), cpu()?, received());
    tokio::time::sleep(Duration::from_secs(u64::from(options.seconds))).await;
    let (cpu, packets, seconds) = (cpu()? - cpu_before, received() - before, began.elapsed().as_secs_f64());
    for stream in streams {
        stream.phone.stop_sending();
        stream.trunk.stop_sending();
    }
    // Packets under way arrive within this time or never.
    tokio::time::sleep(SETTLE).await;
    let directions = |stream: &Stream| {
        let (phone, trunk) = (stream.phone.report(), stream.trunk.report());
        [DirectionReport::between(&phone, &trunk), DirectionReport::between(&trunk, &phone)]
    };
    let corrupted = streams.iter().flat_map(directions).map(|direction| direction.corrupted).sum();
    let missing: u64 = streams.iter().flat_map(directions).map(|direction| direction.lost).sum();
    let delays =
        streams.iter().flat_map(|stream| [stream.phone.report().delay_ms, stream.trunk.report().delay_ms]);
    Ok(Relay {
        subject,
        calls: streams.len(),
        seconds,
        packets,
        lost: missing.saturating_sub(head),
        corrupted,
        delay_ms: delays.sum::<f64>() / (streams.len() * 2).max(1) as f64,
        cpu_us_each: micros_each(cpu, packets),
        packets_per_cpu_second: (cpu > Duration::ZERO).then(|| packets as f64 / cpu.as_secs_f64()),
        platform_ratio: None,
    })
}

/// Packets that the receivers know to be missing so far.
fn lost(stream: &Stream) -> u64 {
    stream.phone.report().lost + stream.trunk.report().lost
}

/// A number outside.
const DIALLED: &str = "0312345678";
/// As many as a simulated phone takes.
const CALLS_A_LINE: usize = 10;
const PATIENCE: Duration = Duration::from_secs(40);
const SETTLE: Duration = Duration::from_secs(1);
