//! How long a dorm-wide registration takes to get on disk.
//!
//! `cargo run --release -p schema --example registrations -- [store] [phones]`: the store is a path or a URL (a file in a temporary folder when
//! it is left out), the phones are 27,000 by default. Wall time and the process's CPU time are printed; nothing is asserted. PostgreSQL's own
//! CPU time is not in it.

use std::sync::Arc;
use std::time::Instant;

use schema::secret::{Ha1Set, Password, Sealed};
use schema::{Binding, Change, Directory, Line, LineId, Mirror, Site, SiteId, Writer, WriterSettings, open};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let directory = tempfile::tempdir()?;
    let file = format!("sqlite:{}", directory.path().join("bench.db").display());
    let url = args.next().unwrap_or(file);
    let phones: usize = args.next().map_or(Ok(27_000), |count| count.parse())?;

    let store = open(&url).await?;
    let mirror = Mirror::new(Arc::new(Directory::from(&store.load().await?)));
    let settings = WriterSettings { queue: phones.max(1), ..WriterSettings::default() };
    let writer = Writer::spawn(Arc::clone(&store), Arc::clone(&mirror), "bench", settings);
    let site = put_site(&writer).await?;

    let (begin, cpu, before) = (Instant::now(), cpu_ms(), writer.stats().batches);
    let ha1 = Ha1Set::of("user", "realm", &Password::new("password"));
    let lines = (0..phones).map(|n| {
        Line::new(
            site,
            &format!("{n:05}"),
            &format!("u{n}"),
            ha1.clone(),
            Sealed::from_stored("sealed".to_owned()),
        )
    });
    let lines = lines.map(|line| line.map(Change::PutLine)).collect::<Result<Vec<_>, _>>()?;
    for chunk in lines.chunks(400) {
        writer.save(chunk.to_vec()).await?;
    }
    report("lines", phones, begin, cpu, writer.stats().batches - before);

    let ids: Vec<LineId> = mirror.directory().lines().iter().map(|line| line.id).collect();
    for round in ["first registrations", "registrations again"] {
        let (begin, cpu, before) = (Instant::now(), cpu_ms(), writer.stats().batches);
        let saves = ids.iter().map(|line| {
            let (writer, change) = (writer.clone(), Change::PutBinding(binding(*line)));
            tokio::spawn(async move { writer.save(vec![change]).await })
        });
        for save in saves.collect::<Vec<_>>() {
            save.await??;
        }
        report(round, phones, begin, cpu, writer.stats().batches - before);
    }

    let (begin, cpu) = (Instant::now(), cpu_ms());
    let contents = store.load().await?;
    let directory = Directory::from(&contents);
    report("loading", directory.line_count() + contents.bindings.len(), begin, cpu, 0);
    writer.close().await;
    store.close().await;
    Ok(())
}

async fn put_site(writer: &Writer) -> Result<SiteId, Error> {
    match writer.save_each(vec![Change::PutSite(Site::new("Dorm", "42", "s042.example.net")?)]).await?.pop() {
        Some(Ok(Change::PutSite(site))) => Ok(site.id),
        other => Err(format!("the site was not stored: {other:?}").into()),
    }
}

fn binding(line: LineId) -> Binding {
    Binding {
        line,
        contact: format!("sip:{line}@[2001:db8:42::{:x}]:5060;transport=udp", line.0 % 0xffff),
        call_id: format!("{line}-3848276298220188511@atlanta.example.com"),
        cseq: 2,
        q: 1000,
        expires_at: 1_800_000_000,
        stored_until: 1_800_000_600,
        path: Vec::new(),
        received: "UDP [2001:db8:42::7]:5060 > [2001:db8::1]:5060".to_owned(),
        user_agent: Some("Bench Phone/1.0".to_owned()),
        instance: None,
        reg_id: None,
        source: "[2001:db8:42::7]:5060".parse().ok(),
    }
}

fn report(what: &str, rows: usize, begin: Instant, cpu: u64, batches: u64) {
    let wall = begin.elapsed().as_millis();
    println!("{what}: {rows} rows in {batches} batches, {wall} ms wall, {} ms CPU", cpu_ms() - cpu);
}

/// User and system time of the whole process, in milliseconds, from `/proc/self/stat` in clock ticks of 10 ms.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    after_name.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}
