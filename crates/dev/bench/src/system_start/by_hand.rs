//! QEMU as one would start it by hand: the same arguments, with the files, taps and sockets they refer to opened here.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::OpenOptionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

use crate::figure::millis;

/// The access mode among the flags of an open file, and those others that shape reading and writing.
const ACCESS_MODE: i32 = 0o3;
const KEPT_FLAGS: i32 = 0o2000 | 0o40000;
/// How a descriptor is named in QEMU's arguments; a number follows.
const DESCRIPTOR: &str = "fd=";
/// An answer that takes longer will not come.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The tap's name; the namespace has no other of this name.
const TAP: &str = "acp-by-hand";

/// What a descriptor of the running QEMU was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Opened {
    Tap,
    Listener,
    File { path: PathBuf, flags: i32 },
}

/// A start that can be repeated.
#[derive(Debug)]
pub(super) struct ByHand {
    directory: PathBuf,
    words: Vec<String>,
    descriptors: BTreeMap<i32, Opened>,
}

/// A started QEMU; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl ByHand {
    /// Looks at a running QEMU and takes over what it was started with. Its own sockets will lie in `directory`.
    pub(super) fn like(pid: i32, directory: &Path) -> Result<Self> {
        let line = fs::read(format!("/proc/{pid}/cmdline"))?;
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let mut words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        words[0] = fs::read_link(format!("/proc/{pid}/exe"))?.display().to_string();
        let mut descriptors = BTreeMap::new();
        for word in &words {
            for number in numbers(word) {
                // QEMU closes what it was given for a set once it has a copy, so those are found by what they are for.
                let at = match word.split_once("opaque=") {
                    Some((_, purpose)) => copy_for(pid, purpose)?,
                    None => number,
                };
                descriptors.insert(number, Opened::of(pid, at)?);
            }
        }
        Ok(Self { directory: directory.to_owned(), words, descriptors })
    }

    /// Starts it; answers the milliseconds until QMP says that it runs.
    pub(super) fn start(&self) -> Result<f64> {
        let started = Instant::now();
        let mut sockets = Vec::new();
        let mut opened: Vec<OwnedFd> = Vec::new();
        let mut renamed = BTreeMap::new();
        for (number, what) in &self.descriptors {
            let fd = what.open(&self.directory, &mut sockets)?;
            fcntl_setfd(&fd, FdFlags::empty())?;
            renamed.insert(*number, fd.as_raw_fd());
            opened.push(fd);
        }
        let words: Vec<String> = self.words.iter().map(|word| rename(word, &renamed)).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let running = Running(command.spawn().context("cannot start QEMU")?);
        drop(opened);
        Monitor::among(&sockets)?.run_machine()?;
        let taken = millis(started.elapsed());
        drop(running);
        for socket in sockets {
            fs::remove_file(socket)?;
        }
        Ok(taken)
    }
}

impl Opened {
    fn of(pid: i32, number: i32) -> Result<Self> {
        let link = fs::read_link(format!("/proc/{pid}/fd/{number}"))
            .with_context(|| format!("QEMU has no descriptor {number}"))?;
        if link == Path::new("/dev/net/tun") {
            return Ok(Self::Tap);
        }
        if link.display().to_string().starts_with("socket:") {
            return Ok(Self::Listener);
        }
        let information = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))?;
        let flags =
            information.lines().find_map(|line| line.strip_prefix("flags:")).context("a descriptor without flags")?;
        Ok(Self::File { path: link, flags: i32::from_str_radix(flags.trim(), 8)? })
    }

    fn open(&self, directory: &Path, sockets: &mut Vec<PathBuf>) -> Result<OwnedFd> {
        match self {
            Self::Tap => acp_io_netlink::open_tap(TAP).context("cannot make a tap"),
            Self::Listener => {
                let path = directory.join(format!("by-hand-{}.sock", sockets.len()));
                let listener = UnixListener::bind(&path).with_context(|| format!("cannot bind {}", path.display()))?;
                sockets.push(path);
                Ok(listener.into())
            }
            Self::File { path, flags } => {
                let (read, write) = (flags & ACCESS_MODE != 1, flags & ACCESS_MODE != 0);
                let mut options = OpenOptions::new();
                options.read(read).write(write).custom_flags(flags & KEPT_FLAGS);
                Ok(options.open(path).with_context(|| format!("cannot open {}", path.display()))?.into())
            }
        }
    }
}

/// The descriptor of the process that serves a purpose, told by the file's place: the console's log, the volume above, the image
/// below it.
fn copy_for(pid: i32, purpose: &str) -> Result<i32> {
    let part = match purpose {
        "consolelog" => "/console.log",
        "disk0.0" => "/volumes/",
        "disk0.1" => "/images/",
        other => bail!("a descriptor for {other:?} is not known here"),
    };
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok);
    let mut found =
        entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|file| file.display().to_string().contains(part)));
    let entry = found.next().with_context(|| format!("QEMU has no file open for {purpose}"))?;
    entry.file_name().to_str().and_then(|number| number.parse().ok()).context("a descriptor is a number")
}

/// The numbers of descriptors that an argument names.
fn numbers(word: &str) -> Vec<i32> {
    let parts = word.split([',', ':']).filter_map(|part| part.strip_prefix(DESCRIPTOR));
    parts.filter_map(|number| number.parse().ok()).collect()
}

/// The argument with other numbers for its descriptors.
fn rename(word: &str, renamed: &BTreeMap<i32, i32>) -> String {
    let parts = word.split(',').map(|part| {
        let number = part.strip_prefix(DESCRIPTOR).and_then(|number| renamed.get(&number.parse().ok()?));
        number.map_or_else(|| part.to_owned(), |number| format!("{DESCRIPTOR}{number}"))
    });
    parts.collect::<Vec<_>>().join(",")
}

/// QEMU's machine protocol, as far as it takes to let the machine run.
struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Whichever of the sockets greets as QMP does.
    fn among(sockets: &[PathBuf]) -> Result<Self> {
        let connections = sockets.iter().map(|path| UnixStream::connect(path).map(BufReader::new));
        let mut connections: Vec<_> = connections.collect::<Result<_, _>>()?;
        let deadline = Instant::now() + ANSWER_LIMIT;
        while Instant::now() < deadline {
            for at in 0..connections.len() {
                connections[at].get_ref().set_read_timeout(Some(Duration::from_millis(1)))?;
                let greets = connections[at].fill_buf().is_ok_and(|bytes| bytes.starts_with(b"{\"QMP\""));
                if greets {
                    let mut monitor = Self { reader: connections.swap_remove(at) };
                    monitor.reader.get_ref().set_read_timeout(Some(ANSWER_LIMIT))?;
                    monitor.message()?;
                    return Ok(monitor);
                }
            }
        }
        bail!("QEMU does not greet")
    }

    fn run_machine(&mut self) -> Result<()> {
        self.execute("qmp_capabilities")?;
        self.execute("cont")?;
        let status = self.execute("query-status")?;
        if status["running"] == true { Ok(()) } else { bail!("QEMU does not run the machine: {status}") }
    }

    fn execute(&mut self, command: &str) -> Result<Value> {
        let mut line = serde_json::to_vec(&json!({ "execute": command }))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        loop {
            let mut message = self.message()?;
            if message.get("error").is_some() {
                bail!("QEMU refused {command}: {message}");
            }
            if message.get("return").is_some() {
                return Ok(message["return"].take());
            }
        }
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("QEMU does not answer")? == 0 {
            bail!("QEMU ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU said {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_and_renamed() {
        let word = "socket,id=qmp,fd=5,server=on,wait=off";
        assert_eq!(numbers(word), [5]);
        assert_eq!(rename(word, &BTreeMap::from([(5, 17)])), "socket,id=qmp,fd=17,server=on,wait=off");
        assert_eq!(numbers("fd=9,set=2,opaque=x"), [9]);
        assert!(numbers("virtio-net-pci,netdev=n0").is_empty());
    }
}
