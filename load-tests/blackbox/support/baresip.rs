//! baresip (Debian) as a phone or gateway that others wrote: it sends a tone and records what it hears.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::sipp::free_port;
use super::{Credentials, until};

/// A running baresip. Dropping it kills the process and removes its recordings.
pub(crate) struct Baresip {
    child: Child,
    control: Control,
    folder: TempDir,
    /// Where it takes SIP over UDP.
    pub(crate) local: SocketAddr,
}

/// Who baresip is.
pub(crate) struct Persona {
    ip: IpAddr,
    account: String,
    tone: u32,
    /// Whom certificates are checked against.
    authority: Option<PathBuf>,
}

impl Persona {
    /// A phone of this line over TLS, that checks the proxy's certificate against this authority.
    pub(crate) fn tls_phone(line: &Credentials, proxy: SocketAddr, tone: u32, authority: &Path) -> Persona {
        let phone = Persona::phone(line, proxy, tone);
        let account = phone.account.replace("transport=udp", "transport=tls");
        Persona { account, authority: Some(authority.to_owned()), ..phone }
    }

    /// A phone of this line, that sends a tone of so many hertz.
    pub(crate) fn phone(line: &Credentials, proxy: SocketAddr, tone: u32) -> Persona {
        let Credentials { extension, domain, auth_user, password } = line;
        let account = format!(
            "<sip:{extension}@{domain}>;outbound=\"sip:{proxy};transport=udp\";auth_user={auth_user};auth_pass={password};regint=3600"
        );
        Persona { ip: proxy.ip(), account, tone, authority: None }
    }

    /// A gateway that takes calls to this number; its own calls come from it, by way of the translator.
    pub(crate) fn gateway(number: &str, trunk_side: SocketAddr, tone: u32) -> Persona {
        let account = format!(
            "<sip:{number}@{}>;outbound=\"sip:{trunk_side};transport=udp\";regint=0",
            trunk_side.ip()
        );
        Persona { ip: trunk_side.ip(), account, tone, authority: None }
    }

    /// Starts it, answering every call by itself.
    pub(crate) fn start(self) -> Baresip {
        let folder = tempfile::Builder::new().prefix("centrex6-baresip-").tempdir().unwrap();
        let local = SocketAddr::new(self.ip, free_port(self.ip, false));
        let control = SocketAddr::new(self.ip, free_port(self.ip, true));
        let media = free_port(self.ip, false) & !1;
        let tone = folder.path().join("tone.wav");
        std::fs::write(&tone, wav(self.tone)).unwrap();
        let config = format!(
            "sip_listen {local}\nnet_interface {}\nctrl_tcp_listen {control}\n\
             rtp_ports {media}-{}\nrtp_stats yes\nsnd_path {}\n\
             audio_source aufile,{}\naudio_player aubridge,nowhere\naudio_alert aubridge,nowhere\n\
             ausrc_srate 8000\nauplay_srate 8000\naudio_channels 1-1\naudio_level no\n\
             module_path {MODULES}\nmodule g711.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\n\
             module_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n",
            self.ip,
            media.saturating_add(20),
            folder.path().display(),
            tone.display(),
        );
        let trusted = self
            .authority
            .iter()
            .map(|file| format!("sip_cafile {}\nsip_verify_server yes\n", file.display()));
        let config = config + &trusted.collect::<String>();
        std::fs::write(folder.path().join("config"), config).unwrap();
        std::fs::write(folder.path().join("accounts"), format!("{};answermode=auto\n", self.account))
            .unwrap();
        std::fs::write(folder.path().join("contacts"), "").unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("baresip")
            .arg("-f")
            .arg(folder.path())
            .args(["-s", "-t", "120"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let log = folder.path().join("log");
        let shown = || format!("baresip listens for orders\n{}", read(&log));
        let stream = until(shown, || TcpStream::connect(control).ok());
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Baresip { child, control: Control { stream, buffer: Vec::new(), seen: Vec::new() }, folder, local }
    }
}

impl Baresip {
    /// Gives an order, as typed at its prompt.
    pub(crate) fn order(&mut self, command: &str, parameters: &str) {
        let order = json!({ "command": command, "params": parameters, "token": command }).to_string();
        write!(self.control.stream, "{}:{order},", order.len()).unwrap();
        self.await_message(|message| message["token"] == command && message["response"] == true);
    }

    /// Waits for an event like `CALL_ESTABLISHED`, which may have happened already.
    pub(crate) fn await_event(&mut self, kind: &str) -> Value {
        self.await_message(|message| message["type"] == kind)
    }

    /// Waits until the recording of what it heard, so many seconds at least, is there; gives its strongest frequency, in hertz.
    pub(crate) fn await_heard(&mut self, seconds: f64) -> f64 {
        let log = self.folder.path().join("log");
        let folder = self.folder.path().to_owned();
        let shown = || format!("baresip records {seconds} s\n{}", read(&log));
        let samples = until(shown, || {
            let samples = samples(&recording(&folder)?)?;
            (samples.len() as f64 >= seconds * RATE).then_some(samples)
        });
        // The beginning may hold silence from before the other side's first packet.
        strongest(samples.get(samples.len() / 2..).unwrap_or_default())
    }

    fn await_message(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let log = self.folder.path().join("log");
        let control = &mut self.control;
        until(
            || format!("baresip reports\n{}", read(&log)),
            || {
                control.read();
                let at = control.seen.iter().position(&wanted)?;
                Some(control.seen.remove(at))
            },
        )
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of baresip\n{}", read(&self.folder.path().join("log")));
        }
    }
}

/// JSON in netstrings, as baresip's ctrl_tcp speaks it.
struct Control {
    stream: TcpStream,
    buffer: Vec<u8>,
    seen: Vec<Value>,
}

impl Control {
    /// Takes what has come.
    fn read(&mut self) {
        let mut piece = [0; 4096];
        if let Ok(count) = self.stream.read(&mut piece) {
            self.buffer.extend_from_slice(&piece[..count]);
        }
        while let Some(colon) = self.buffer.iter().position(|byte| *byte == b':') {
            let length: usize = std::str::from_utf8(&self.buffer[..colon]).unwrap().parse().unwrap();
            let end = colon + 1 + length;
            if self.buffer.len() <= end {
                return;
            }
            self.seen.push(serde_json::from_slice(&self.buffer[colon + 1..end]).unwrap());
            self.buffer.drain(..=end);
        }
    }
}

fn recording(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    files
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-dec.wav")))
}

/// The samples of a WAV file with one channel of 16 bits; it may be growing.
fn samples(path: &Path) -> Option<Vec<f64>> {
    let bytes = std::fs::read(path).ok()?;
    let data = bytes.windows(4).position(|window| window == b"data")? + 8;
    let pairs = bytes.get(data..)?.chunks_exact(2);
    Some(pairs.map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect())
}

/// The frequency with the most power, in steps of 10 Hz (Goertzel's algorithm).
fn strongest(samples: &[f64]) -> f64 {
    let power = |frequency: f64| {
        let factor = 2.0 * (std::f64::consts::TAU * frequency / RATE).cos();
        let (last, before) =
            samples.iter().fold((0.0, 0.0), |(last, before), sample| (sample + factor * last - before, last));
        last * last + before * before - factor * last * before
    };
    let steps = (10..380).map(|step| f64::from(step) * 10.0);
    steps.max_by(|one, other| power(*one).total_cmp(&power(*other))).unwrap()
}

/// A sine of half the greatest amplitude, longer than any test: one channel of 16 bits.
fn wav(tone: u32) -> Vec<u8> {
    let count = RATE as u32 * 40;
    let sample = |at: u32| {
        let phase = std::f64::consts::TAU * f64::from(tone) * f64::from(at) / RATE;
        (phase.sin() * 16_000.0) as i16
    };
    let bytes = count * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    file.extend([1, 0, 1, 0]);
    file.extend((RATE as u32).to_le_bytes());
    file.extend((RATE as u32 * 2).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend((0..count).flat_map(|at| sample(at).to_le_bytes()));
    file
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Where Debian keeps them.
const MODULES: &str = "/usr/lib/baresip/modules";
/// G.711's, in samples a second.
const RATE: f64 = 8_000.0;
