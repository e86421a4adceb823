//! The keeper: holds a lab in the background and does what it is asked over the socket.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use load_tests::lab::plan::{Access, Wishes};
use load_tests::lab::{CallReport, Errand, Lab, LabCall, Party, Setup, Station};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::{self, Answer, Request, SOCKET};
use super::{Wanted, Which};

/// What came of one call of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Who should call whom, dialling what.
    pub(super) errand: Errand,
    /// What came of the audio, when the call was answered.
    pub(super) report: Option<CallReport>,
    /// Why it failed.
    pub(super) trouble: Option<String>,
}

/// Makes the lab and keeps it until somebody asks for its end. Standard output tells `lab up` how it goes.
pub(super) fn keep(which: &Which, wanted: &Wanted) -> anyhow::Result<()> {
    let mut up = std::io::stdout();
    let mut gone = false;
    let made = make(which, wanted, |text| {
        gone |= control::say(&mut up, &Answer::Progress(text.to_owned())).is_err();
    });
    let mut lab = match made {
        Ok(lab) => lab,
        Err(error) => return control::say(&mut up, &Answer::Failed(format!("{error:#}"))),
    };
    // Whoever interrupts `lab up` does not want the lab.
    anyhow::ensure!(!gone, "`lab up` is gone");
    let listener = UnixListener::bind(lab.folder().file(SOCKET)).context("cannot make the control socket")?;
    let status = lab.status()?;
    control::say(&mut up, &Answer::Done(json!(status)))?;
    serve(lab, &listener);
    Ok(())
}

fn make(which: &Which, wanted: &Wanted, progress: impl FnMut(&str)) -> anyhow::Result<Lab> {
    let last_access = if wanted.sites > 1 { Access::Router } else { Access::Own };
    let wishes = Wishes { name: which.name.clone(), sites: wanted.sites, phones: wanted.phones, last_access };
    let setup = Setup::new(&wanted.binary()?, wishes).folder(which.dir.clone());
    Ok(Lab::up(&setup, progress)?)
}

/// Answers requests, several at a time, until one asks for the end.
fn serve(lab: Lab, listener: &UnixListener) {
    let lab = Arc::new(Mutex::new(Some(lab)));
    let busy = Arc::new(AtomicUsize::new(0));
    for mut stream in listener.incoming().flatten() {
        let request = match control::hear(&stream) {
            Ok(request) if busy.load(Ordering::Relaxed) < MAX_REQUESTS => request,
            Ok(_) => {
                let _ = control::say(&mut stream, &Answer::Failed("the lab is busy; try again".to_owned()));
                continue;
            }
            Err(error) => {
                let _ = control::say(&mut stream, &Answer::Failed(format!("{error:#}")));
                continue;
            }
        };
        if request == Request::Down {
            return answer(&lab, request, &mut stream);
        }
        let (lab, busy) = (Arc::clone(&lab), Arc::clone(&busy));
        busy.fetch_add(1, Ordering::Relaxed);
        std::thread::spawn(move || {
            answer(&lab, request, &mut stream);
            busy.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn answer(lab: &Mutex<Option<Lab>>, request: Request, stream: &mut UnixStream) {
    let outcome = carry_out(lab, request, &mut |text| {
        let _ = control::say(stream, &Answer::Progress(text.to_owned()));
    });
    let answer = match outcome {
        Ok(value) => Answer::Done(value),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    // Whoever does not wait for the answer does not want it.
    let _ = control::say(stream, &answer);
}

fn carry_out(
    lab: &Mutex<Option<Lab>>,
    request: Request,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<Value> {
    let mut held = lock(lab);
    if request == Request::Down {
        let removed = held.take().context("the lab is gone")?.down()?;
        return Ok(json!(format!("removed {removed} namespaces")));
    }
    let lab = held.as_mut().context("the lab is gone")?;
    match request {
        Request::Status => Ok(json!(lab.status()?)),
        Request::Call { parties, seconds } => {
            let errands = match parties {
                None => Errand::tour(lab.plan())?,
                Some((from, to)) => vec![errand(lab, from, &to)?],
            };
            let with_stations = errands
                .into_iter()
                .map(|errand| Ok((lab.station(errand.from)?, lab.station(errand.to)?, errand)));
            let calls = with_stations.collect::<anyhow::Result<Vec<_>>>()?;
            // Others may look at the lab, or break it, while they talk.
            drop(held);
            progress(&format!("{} calls, {seconds} s each", calls.len()));
            Ok(json!(all_at_once(&calls, Duration::from_secs(seconds))))
        }
        Request::Renumber { site } => {
            let (from, to) = lab.renumber(site)?;
            Ok(json!(format!("site {site} was {from} and is {to} now; its IAD logs in again from there")))
        }
        Request::Cut { site, power: false } => {
            lab.set_line(site, false)?;
            Ok(json!(format!("the access line of site {site} is cut; `lab heal {site}` mends it")))
        }
        Request::Cut { site, power: true } => {
            lab.power_off(site)?;
            Ok(json!(format!("the IAD of site {site} has no power; `lab heal {site}` gives it back")))
        }
        Request::Heal { site } => {
            lab.set_line(site, true)?;
            if !lab.iad(site)?.is_on() {
                lab.power_on(site)?;
            }
            Ok(json!(format!("site {site} has its line and its power")))
        }
        Request::NdLimit { site, limit } => {
            lab.limit_neighbours(site, limit)?;
            Ok(json!(match limit {
                0 => format!("the IAD of site {site} knows every neighbour"),
                _ => format!(
                    "the IAD of site {site} knows at most {limit} neighbours: about {} of its {} phones",
                    limit / 2,
                    lab.plan().dorm(site)?.phones.len()
                ),
            }))
        }
        Request::Down => Ok(Value::Null),
    }
}

fn errand(lab: &Lab, from: Party, to: &str) -> anyhow::Result<Errand> {
    match to.parse() {
        Ok(to) => Ok(Errand::between(lab.plan(), from, to)?),
        Err(_) => Ok(Errand::to_number(lab.plan(), from, to)?),
    }
}

/// Makes all calls at the same time.
fn all_at_once(calls: &[(Arc<Station>, Arc<Station>, Errand)], talk: Duration) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let make = |(from, to, errand): &(Arc<Station>, Arc<Station>, Errand)| {
            let report = || -> anyhow::Result<CallReport> {
                let call = LabCall::set_up(from, to, &errand.dialled)?;
                std::thread::sleep(talk);
                Ok(call.hang_up()?)
            };
            let (report, trouble) = match report() {
                Ok(report) => {
                    let trouble = (!report.is_intact()).then(|| "packets were lost or changed".to_owned());
                    (Some(report), trouble)
                }
                Err(error) => (None, Some(format!("{error:#}"))),
            };
            Outcome { errand: errand.clone(), report, trouble }
        };
        let threads: Vec<_> = calls.iter().map(|call| (call, scope.spawn(move || make(call)))).collect();
        let outcome = |(call, thread): (&(_, _, Errand), std::thread::ScopedJoinHandle<'_, Outcome>)| {
            thread.join().unwrap_or_else(|_| Outcome {
                errand: call.2.clone(),
                report: None,
                trouble: Some("the lab's own thread failed; see keeper.log".to_owned()),
            })
        };
        threads.into_iter().map(outcome).collect()
    })
}

fn lock(lab: &Mutex<Option<Lab>>) -> MutexGuard<'_, Option<Lab>> {
    lab.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests at a time.
const MAX_REQUESTS: usize = 16;
