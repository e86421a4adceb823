//! The loop that drives the core: one input, then every output, then the next input.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use node::telemetry::Mask;
use schema::{Alarm, AlarmId, Change, StoreError, Writer};
use sip_core::clock::WallClock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::handle::{Acknowledged, Command};
use super::sockets::{Asker, Sockets};
use super::{Bell, ServiceSettings, World, metrics};
use crate::gather::gather;
use crate::io::{Entry, Input, Output, Saved};
use crate::watch::Watch;

/// See the module.
pub(super) struct Turn {
    watch: Watch,
    world: World,
    asker: Asker,
    mask: Mask,
    wake: Option<Instant>,
    /// Not before this time is the next picture taken, and at the latest then.
    picture_from: Instant,
    picture_until: Instant,
    rung: bool,
    saved: mpsc::UnboundedSender<(Entry, Alarm, Saved)>,
    outcomes: mpsc::UnboundedReceiver<(Entry, Alarm, Saved)>,
    /// Who waits for an acknowledgement to be on disk.
    waiting: Vec<(AlarmId, oneshot::Sender<Acknowledged>)>,
}

impl Turn {
    pub(super) fn new(
        settings: ServiceSettings,
        world: World,
        sockets: Sockets,
        seed: [u8; 32],
    ) -> io::Result<Turn> {
        let now = Instant::now();
        let clock = WallClock::new(now, unix_now());
        let mut watch = settings.watch;
        watch.echo = sockets.can_echo();
        metrics::publish_echo(watch.echo);
        // The core has one save of an alarm under way at a time: the channel is as bounded as the alarms are.
        let (saved, outcomes) = mpsc::unbounded_channel();
        Ok(Turn {
            watch: Watch::new(watch, clock, seed),
            world,
            asker: Asker::new(sockets)?,
            mask: settings.mask,
            wake: None,
            picture_from: now,
            picture_until: now,
            rung: true,
            saved,
            outcomes,
            waiting: Vec::new(),
        })
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, bell: &Bell) {
        loop {
            let picture_at = if self.rung { self.picture_from } else { self.picture_until };
            let wake = self.wake.unwrap_or(picture_at).min(picture_at);
            tokio::select! {
                () = self.asker.readable() => {
                    for answer in self.asker.answers() {
                        let super::sockets::Answer { ticket, method, source } = answer;
                        self.give(Input::Answer { ticket, method, source });
                    }
                }
                Some((entry, alarm, outcome)) = self.outcomes.recv() => self.take_outcome(entry, &alarm, outcome),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = bell.rings(), if !self.rung => self.rung = true,
                () = sleep_until(wake.into()) => {
                    if picture_at <= Instant::now() {
                        self.take_picture();
                    } else {
                        self.wake = None;
                        self.give(Input::Time);
                    }
                }
            }
        }
    }

    /// Takes a picture, and rests so long after it that pictures cost a fiftieth of a core at most.
    fn take_picture(&mut self) {
        let begin = Instant::now();
        self.rung = false;
        let picture = gather(&self.world.directory, &self.world.locations, unix_now());
        self.give(Input::Picture(picture));
        metrics::publish(&self.watch);
        let end = Instant::now();
        self.picture_from = end + ((end - begin) * COST).max(SOONEST);
        self.picture_until = self.picture_from.max(end + LATEST);
    }

    fn give(&mut self, input: Input) {
        let now = Instant::now();
        self.watch.handle_input(now, input);
        while let Some(output) = self.watch.poll_output() {
            match output {
                Output::Probe(probe) => self.asker.ask(now, probe),
                Output::Save { entry, alarm } => self.save(entry, *alarm),
                Output::Forget(id) => self.forget(id),
                Output::Wake(at) => self.wake = Some(at),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            // Whoever asked may have gone away.
            Command::Status(answer) => drop(answer.send(self.watch.status(Instant::now()))),
            Command::Acknowledge { alarm, by, comment, done } => {
                if self.watch.has_open(alarm) {
                    self.waiting.push((alarm, done));
                    self.give(Input::Acknowledge { alarm, by, comment });
                } else {
                    drop(done.send(Acknowledged::NotOpen));
                }
            }
        }
    }

    fn save(&self, entry: Entry, alarm: Alarm) {
        self.log(&alarm);
        let (writer, saved) = (self.world.writer.clone(), self.saved.clone());
        tokio::spawn(async move {
            let (alarm, outcome) = write(&writer, alarm).await;
            // The receiver goes with the loop.
            let _ = saved.send((entry, alarm, outcome));
        });
    }

    fn take_outcome(&mut self, entry: Entry, alarm: &Alarm, outcome: Saved) {
        let is_acked = alarm.acked_at.is_some();
        for (id, done) in std::mem::take(&mut self.waiting) {
            let answer = match outcome {
                _ if id != alarm.id => None,
                Saved::Stored(_) => is_acked.then(|| Acknowledged::Done(Box::new(alarm.clone()))),
                Saved::Taken | Saved::Failed => Some(Acknowledged::Unsaved),
            };
            match answer {
                Some(answer) => drop(done.send(answer)),
                None => self.waiting.push((id, done)),
            }
        }
        self.give(Input::Saved { entry, outcome });
        metrics::publish(&self.watch);
    }

    fn forget(&self, id: AlarmId) {
        let writer = self.world.writer.clone();
        tokio::spawn(async move {
            if let Err(error) = writer.save(vec![Change::RemoveAlarm(id)]).await {
                tracing::debug!(%error, "an alarm of long ago could not be removed");
            }
        });
    }

    /// Tells what is raised and what is cleared. The cause names lines and addresses, which may have to be hidden.
    fn log(&self, alarm: &Alarm) {
        let hidden = self.mask.numbers || self.mask.addresses;
        let cause = if hidden { "`centrex6 alarm list` tells more" } else { &alarm.cause };
        let subject = self.mask.number(&alarm.subject);
        let kind = alarm.kind;
        match (alarm.id, alarm.cleared_at) {
            (_, Some(_)) => tracing::info!(%kind, %subject, "alarm cleared"),
            (AlarmId::NEW, None) => tracing::warn!(%kind, %subject, cause, "alarm"),
            _ => tracing::debug!(%kind, %subject, cause, "alarm changed"),
        }
    }
}

async fn write(writer: &Writer, alarm: Alarm) -> (Alarm, Saved) {
    let saved = writer.save_each(vec![Change::PutAlarm(alarm.clone())]).await;
    match saved.map(|mut outcomes| outcomes.pop()) {
        Ok(Some(Ok(Change::PutAlarm(stored)))) => {
            let id = stored.id;
            (stored, Saved::Stored(id))
        }
        Ok(Some(Err(StoreError::Duplicate { .. }))) if alarm.id == AlarmId::NEW => (alarm, Saved::Taken),
        Ok(Some(Err(error))) => {
            tracing::warn!(%error, kind = %alarm.kind, "an alarm could not be written; it is tried again");
            (alarm, Saved::Failed)
        }
        Ok(_) => (alarm, Saved::Failed),
        Err(error) => {
            tracing::debug!(%error, kind = %alarm.kind, "an alarm could not be written; it is tried again");
            (alarm, Saved::Failed)
        }
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The rest after a picture, in times that it took.
const COST: u32 = 50;
/// The shortest rest, so that changes that come together are seen together.
const SOONEST: Duration = Duration::from_millis(100);
/// The longest: bindings lapse without anybody telling.
const LATEST: Duration = Duration::from_secs(10);
