//! The command line.

use std::{ffi::OsString, path::PathBuf};

const USAGE: &str =
    "usage: acp-shim run UNIT | acp-shim respawn [--log FILE] [--notify SOCKET] -- PROGRAM [ARGUMENT...]";

/// What this process is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The shim of a unit. The unit's name on the command line is for people who look at the process table.
    Run,
    /// What becomes the unit's program.
    Exec,
    /// The guard of the framework.
    Guard {
        /// The file for the program's output; absent: where the guard's own goes.
        log: Option<PathBuf>,
        /// Where the program gives its signs of life; absent: it is not asked for any.
        notify: Option<PathBuf>,
        /// The program and its arguments.
        program: Vec<OsString>,
    },
    /// What becomes the guarded program.
    Guarded {
        /// The program and its arguments.
        program: Vec<OsString>,
    },
}

impl Mode {
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let mode = arguments.next().ok_or(USAGE)?;
        match mode.to_str() {
            Some("run") => Ok(Self::Run),
            Some("exec") => Ok(Self::Exec),
            Some("guarded") => Ok(Self::Guarded { program: program(arguments.collect())? }),
            Some("respawn") => Self::guard(arguments),
            _ => Err(USAGE.to_owned()),
        }
    }

    fn guard(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut log, mut notify) = (None, None);
        loop {
            let argument = arguments.next().ok_or(USAGE)?;
            match argument.to_str() {
                Some("--log") => log = Some(PathBuf::from(arguments.next().ok_or(USAGE)?)),
                Some("--notify") => notify = Some(PathBuf::from(arguments.next().ok_or(USAGE)?)),
                Some("--") => return Ok(Self::Guard { log, notify, program: program(arguments.collect())? }),
                _ => return Err(format!("{}: {USAGE}", argument.to_string_lossy())),
            }
        }
    }
}

fn program(words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    if words.is_empty() { Err(USAGE.to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Mode, String> {
        Mode::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn modes_are_told_apart_and_nonsense_is_refused() {
        assert_eq!(parse("run network"), Ok(Mode::Run));
        let program = || vec!["/bin/x".into(), "--log".into(), "y".into()];
        assert_eq!(parse("respawn -- /bin/x --log y"), Ok(Mode::Guard { log: None, notify: None, program: program() }));
        assert_eq!(
            parse("respawn --log f --notify n -- /bin/x --log y"),
            Ok(Mode::Guard { log: Some("f".into()), notify: Some("n".into()), program: program() })
        );
        for nonsense in ["", "fly", "respawn", "respawn --", "respawn /bin/x", "respawn --log"] {
            assert!(parse(nonsense).is_err(), "{nonsense}");
        }
    }
}
