#![doc = include_str!("../README.md")]

mod become_program;
mod guard;
mod keep;
mod log;
mod mode;
mod pulse;
mod receive;
mod signals;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use mode::Mode;

/// Exit status for a wrong command line (`sysexits.h`, EX_USAGE).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match Mode::parse(arguments) {
        Ok(Mode::Run) => keep::run(),
        Ok(Mode::Exec) => Err(become_program::run().to_string()),
        Ok(Mode::Guard { log, notify, program }) => guard::run(log.as_deref(), notify.as_deref(), &program),
        Ok(Mode::Guarded { program }) => Err(guard::become_guarded(&program)),
        Err(usage) => {
            say(&usage);
            return ExitCode::from(USAGE);
        }
    };
    result.unwrap_or_else(|sentence| {
        say(&sentence);
        ExitCode::FAILURE
    })
}

/// Nothing can be done about a standard error output that is closed.
fn say(sentence: &str) {
    drop(io::stderr().write_all(format!("acp-shim: {sentence}\n").as_bytes()));
}
