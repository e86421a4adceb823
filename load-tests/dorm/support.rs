//! What every test needs: a lab of its own, or the reason why there is none.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use load_tests::lab::plan::{Access, Wishes};
use load_tests::lab::{Lab, LabError, Setup, await_that, check_machine, check_programs};
use serde_json::Value;

/// A dorm for a test to begin with.
pub(crate) fn one_dorm(phones: u8) -> Setup {
    dorms(1, phones, Access::Own)
}

/// Dorms of so many phones each.
pub(crate) fn dorms(sites: u8, phones: u8, last_access: Access) -> Setup {
    static LABS: AtomicU16 = AtomicU16::new(0);
    let name = format!("t{}x{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
    let wishes = Wishes { sites, phones, last_access, ..Wishes::new(&name) };
    Setup::new(Path::new(env!("CARGO_BIN_EXE_centrex6")), wishes).disposable()
}

/// The lab, up. `None` without root or a program: the test says so and is skipped; under CI=true it fails.
pub(crate) fn up(setup: &Setup) -> Option<Lab> {
    match Lab::up(setup, |_| {}) {
        Ok(lab) => Some(lab),
        Err(error @ (LabError::NotRoot | LabError::NoProgram { .. } | LabError::Kernel { .. })) => {
            skip(&error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether this program is there too. As [`up`] when it is not.
pub(crate) fn have(program: &'static str, package: &'static str) -> bool {
    match check_machine().and_then(|()| check_programs(&[(program, package)])) {
        Ok(()) => true,
        Err(error) => {
            skip(&error);
            false
        }
    }
}

/// Asks again and again until there is an answer, and fails when there is none in time.
pub(crate) fn until<T>(what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> T {
    await_that(limit, ask).unwrap_or_else(|| panic!("not within {} s: {what}", limit.as_secs()))
}

/// What the centre says of a site's account and its lease.
pub(crate) fn account(lab: &Lab, site: u8) -> Value {
    let name = lab.plan().dorm(site).unwrap().account();
    lab.centre().unwrap().cli(&["account", "show", &name]).unwrap()
}

/// Waits until the broker has the site's tunnel up from this address.
pub(crate) fn await_tunnel(lab: &Lab, site: u8, client: &str) {
    let of_lease = |name: &str| account(lab, site)["lease"][name].clone();
    until(&format!("the tunnel of site {site} from {client}"), PATIENCE, || {
        (of_lease("client") == client && of_lease("up") == true).then_some(())
    });
}

/// The same with a watch that looks every few moments and is not patient.
pub(crate) fn watched(setup: Setup) -> Setup {
    let settings = [
        ("WATCH__PHONE_INTERVAL_S", "2"),
        ("WATCH__IAD_INTERVAL_S", "2"),
        ("WATCH__RETRY_INTERVAL_MS", "500"),
        ("WATCH__ANSWER_WITHIN_MS", "1500"),
        ("WATCH__SURVEY_INTERVAL_S", "2"),
        ("WATCH__GRACE_S", "2"),
    ];
    settings.iter().fold(setup, |setup, (key, value)| setup.centre(key, value))
}

/// Every alarm of the watch, those of the past too.
pub(crate) fn alarms(lab: &Lab) -> Vec<Value> {
    lab.centre().good().cli(&["alarm", "list", "--all"]).good().as_array().unwrap().clone()
}

/// The alarms that are open.
pub(crate) fn open_alarms(lab: &Lab) -> Vec<Value> {
    lab.centre().good().cli(&["alarm", "list"]).good().as_array().unwrap().clone()
}

/// An error as it reads.
pub(crate) trait Readable<T> {
    /// The value, or the test fails with the error's text.
    fn good(self) -> T;
}

impl<T> Readable<T> for Result<T, LabError> {
    #[track_caller]
    fn good(self) -> T {
        self.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn skip(error: &LabError) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
    // Past the test harness, which shows what a passing test prints to nobody.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {error}");
}

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// The same for what the watch sees only after several rounds.
pub(crate) const LONG: Duration = Duration::from_secs(120);
