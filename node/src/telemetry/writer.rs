//! Log lines on their way to a slow place: a bounded queue and a thread that empties it.

use std::io::{self, Write};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter};
use tracing_subscriber::fmt::MakeWriter;

/// Takes whole lines without waiting.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: SyncSender<Message>,
}

/// Writes what log lines are left when it is dropped.
#[derive(Debug)]
pub struct LogFlush {
    queue: SyncSender<Message>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LineWriter {
    /// Starts the thread. It lives as long as a writer does: for an installed subscriber, until the process ends.
    pub(super) fn start(mut to: impl Write + Send + 'static) -> (Self, LogFlush) {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let write = move || {
            for message in messages {
                // There is nobody left to tell when the log itself cannot be written.
                match message {
                    Message::Line(line) => drop(to.write_all(&line)),
                    Message::Flush(done) => {
                        let _ = to.flush();
                        let _ = done.send(());
                    }
                }
            }
        };
        // Without a thread the queue's other end is gone, and lines are dropped and counted.
        let _ = thread::Builder::new().name("c6-log".to_owned()).spawn(write);
        (LineWriter { queue: queue.clone() }, LogFlush { queue })
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            counter!(DROPPED).increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        self.clone()
    }
}

impl Drop for LogFlush {
    fn drop(&mut self) {
        let (done, is_done) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        // A full queue gets a moment to empty; a dead terminal must not keep the process.
        for _ in 0..FLUSH_ATTEMPTS {
            match self.queue.try_send(message) {
                Ok(()) => {
                    let _ = is_done.recv_timeout(FLUSH_WAIT);
                    return;
                }
                Err(TrySendError::Full(back)) => {
                    message = back;
                    thread::sleep(FLUSH_WAIT / FLUSH_ATTEMPTS);
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

/// Describes the log's own metric to the recorder.
pub(super) fn describe_metrics() {
    describe_counter!(DROPPED, Unit::Count, "Log lines dropped because their reader was too slow");
}

const DROPPED: &str = "centrex6_log_lines_dropped_total";
/// Lines.
const QUEUE: usize = 8192;
const FLUSH_WAIT: Duration = Duration::from_secs(1);
const FLUSH_ATTEMPTS: u32 = 20;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dropping_the_flush_writes_what_is_left() {
        let sink = Sink::default();
        let (mut writer, flush) = LineWriter::start(sink.clone());
        for i in 0..100 {
            writeln!(writer, "{i}").unwrap();
        }
        drop(flush);
        assert_eq!(sink.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count(), 100);
    }

    #[test]
    fn a_stuck_reader_costs_lines_but_no_time() {
        let sink = Sink::default();
        let stuck = sink.0.lock().unwrap();
        let (mut writer, flush) = LineWriter::start(sink.clone());
        for _ in 0..QUEUE + 100 {
            writer.write_all(b"x").unwrap();
        }
        drop(stuck);
        drop(flush);
        assert!(sink.0.lock().unwrap().len() <= QUEUE + 1);
    }
}
