//! The description of a unit's process, as the framework hands it to a shim.
//!
//! It travels in an inherited anonymous file, never on a command line, because the environment may hold secrets. The format
//! is `key=value` records that end with NUL, which neither a path nor an argument can contain; a list is a key that repeats.

use std::path::PathBuf;

use crate::capability::Capability;

/// Descriptors that can be passed to a unit: below the kernel's bound of 253 for one message (`unix(7)`, SCM_MAX_FD).
pub const DESCRIPTORS_MAX: usize = 128;

/// The longest description in bytes: as long as a command line and environment can be on Linux.
pub const BYTES_MAX: usize = 2 << 20;

const HEADER: &str = "acp-launch=1";

/// What a shim runs, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// The unit's name.
    pub unit: String,
    /// The program: a path, or a name that is looked up in the path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment; `LISTEN_PID` is added by the shim.
    pub environment: Vec<(String, String)>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities it has beside what its user has: permitted, effective, inheritable and ambient. All others leave the
    /// bounding set.
    pub capabilities: Vec<Capability>,
    /// Directories of the cgroups it is moved into.
    pub cgroups: Vec<PathBuf>,
    /// The most files it may have open.
    pub open_files_max: Option<u64>,
    /// How many descriptors come over the socket; they become 3, 4, ...
    pub descriptors: usize,
    /// How many of them, from the first, are announced as `LISTEN_FDS`.
    pub listeners: usize,
    /// Where the shim leaves its records.
    pub records: PathBuf,
    /// The file for its output.
    pub log: PathBuf,
    /// The size of the file in bytes from which on it is set aside.
    pub log_bytes_max: u64,
    /// How many files are kept that were set aside.
    pub log_files: u32,
    /// The user the shim itself becomes.
    pub shim_uid: u32,
    /// The group the shim itself becomes.
    pub shim_gid: u32,
}

/// Why bytes are no description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are no text.
    #[error("the launch description is no text")]
    NoText,
    /// They begin differently: another version wrote them.
    #[error("the launch description does not begin with {HEADER}")]
    Header,
    /// They end within a record.
    #[error("the launch description is cut off")]
    CutOff,
    /// A record is not understood; the value is its key.
    #[error("the launch description has a bad record {0:?}")]
    Record(String),
}

impl Launch {
    /// The description as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Encoder(format!("{HEADER}\0"));
        text.push("unit", &self.unit);
        text.push("program", &self.program);
        self.arguments.iter().for_each(|argument| text.push("argument", argument));
        self.environment.iter().for_each(|(name, value)| text.push("environment", format!("{name}={value}")));
        text.push("uid", self.uid);
        text.push("gid", self.gid);
        self.groups.iter().for_each(|group| text.push("group", group));
        self.capabilities.iter().for_each(|capability| text.push("capability", capability));
        self.cgroups.iter().for_each(|cgroup| text.push("cgroup", cgroup.display()));
        self.open_files_max.iter().for_each(|count| text.push("open_files_max", count));
        text.push("descriptors", self.descriptors);
        text.push("listeners", self.listeners);
        text.push("records", self.records.display());
        text.push("log", self.log.display());
        text.push("log_bytes_max", self.log_bytes_max);
        text.push("log_files", self.log_files);
        text.push("shim_uid", self.shim_uid);
        text.push("shim_gid", self.shim_gid);
        text.0.into_bytes()
    }

    /// The description in these bytes.
    ///
    /// # Errors
    /// When the bytes were not made by [`Launch::encode`] of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(|_source| DecodeError::NoText)?;
        let text = text.strip_suffix('\0').ok_or(DecodeError::CutOff)?;
        let mut records = text.split('\0');
        if records.next() != Some(HEADER) {
            return Err(DecodeError::Header);
        }
        let mut launch = Self::default();
        for record in records {
            let known = record.split_once('=').is_some_and(|(key, value)| launch.take(key, value).is_some());
            if !known {
                // The value may be a secret and stays out of the message.
                return Err(DecodeError::Record(record.split('=').next().unwrap_or_default().to_owned()));
            }
        }
        Ok(launch)
    }

    /// Takes one record; `None` if its key is unknown or its value bad.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "unit" => self.unit = value.to_owned(),
            "program" => self.program = value.to_owned(),
            "argument" => self.arguments.push(value.to_owned()),
            "environment" => {
                let (name, value) = value.split_once('=')?;
                self.environment.push((name.to_owned(), value.to_owned()));
            }
            "uid" => self.uid = value.parse().ok()?,
            "gid" => self.gid = value.parse().ok()?,
            "group" => self.groups.push(value.parse().ok()?),
            "capability" => self.capabilities.push(value.parse().ok()?),
            "cgroup" => self.cgroups.push(value.into()),
            "open_files_max" => self.open_files_max = Some(value.parse().ok()?),
            "descriptors" => self.descriptors = value.parse().ok().filter(|count| *count <= DESCRIPTORS_MAX)?,
            "listeners" => self.listeners = value.parse().ok()?,
            "records" => self.records = value.into(),
            "log" => self.log = value.into(),
            "log_bytes_max" => self.log_bytes_max = value.parse().ok()?,
            "log_files" => self.log_files = value.parse().ok()?,
            "shim_uid" => self.shim_uid = value.parse().ok()?,
            "shim_gid" => self.shim_gid = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

struct Encoder(String);

impl Encoder {
    /// A NUL inside a value would begin a new record: it cannot come from a file system or a command line and is left out.
    fn push(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string().replace('\0', "");
        self.0.push_str(&format!("{key}={value}\0"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Launch {
        Launch {
            unit: "network".into(),
            program: "/bin/acp-network".into(),
            arguments: vec!["--a=b".into(), String::new(), "two words\n".into()],
            environment: vec![("A".into(), "x=y".into()), ("B".into(), String::new())],
            uid: 61_004,
            gid: 61_004,
            groups: vec![61_000, 61_007],
            capabilities: vec!["CAP_NET_ADMIN".parse().expect("known")],
            cgroups: vec!["/sys/fs/cgroup/memory/acp/network".into()],
            open_files_max: Some(65_536),
            descriptors: 2,
            listeners: 1,
            records: "/run/acp/units/network".into(),
            log: "/var/log/acp/network.log".into(),
            log_bytes_max: 1 << 20,
            log_files: 4,
            shim_uid: 61_001,
            shim_gid: 61_000,
        }
    }

    #[test]
    fn a_description_survives_the_way() {
        assert_eq!(Launch::decode(&sample().encode()), Ok(sample()));
        assert_eq!(Launch::decode(&Launch::default().encode()), Ok(Launch::default()));
    }

    #[test]
    fn what_is_not_one_is_refused_precisely() {
        assert_eq!(Launch::decode(b""), Err(DecodeError::CutOff));
        assert_eq!(Launch::decode(b"acp-launch=2\0"), Err(DecodeError::Header));
        assert_eq!(Launch::decode(b"acp-launch=1\0secret=x\0"), Err(DecodeError::Record("secret".into())));
        assert_eq!(Launch::decode(b"acp-launch=1\0uid=-1\0"), Err(DecodeError::Record("uid".into())));
        assert_eq!(Launch::decode(b"acp-launch=1\0descriptors=9999\0"), Err(DecodeError::Record("descriptors".into())));
        let cut = &sample().encode()[..40];
        assert_eq!(Launch::decode(cut), Err(DecodeError::CutOff));
    }

    proptest! {
        #[test]
        fn any_arguments_survive(arguments in prop::collection::vec("[^\0]{0,20}", 0..8)) {
            let launch = Launch { arguments, ..sample() };
            prop_assert_eq!(Launch::decode(&launch.encode()), Ok(launch));
        }

        #[test]
        fn any_bytes_are_taken_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Launch::decode(&bytes));
        }
    }

    #[test]
    fn what_is_taken_is_written_the_same_way() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "launch", |bytes| match Launch::decode(bytes) {
            Ok(launch) => {
                assert!(launch.descriptors <= DESCRIPTORS_MAX);
                assert_eq!(Launch::decode(&launch.encode()), Ok(launch));
            }
            Err(error) => assert!(!error.to_string().contains("hunter2"), "a value is told: {error}"),
        });
    }
}
