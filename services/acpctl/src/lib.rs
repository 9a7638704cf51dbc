#![doc = include_str!("../README.md")]

pub mod args;
mod columns;
mod commands;
mod confirm;
mod console;
mod error;
mod output;
mod private_file;
mod progress;
mod root_key;
mod secret;
mod session;
mod terminal;
mod trace;
mod view;
mod wait;

use std::process::ExitCode;

use acp_base::Failure;
use clap::Parser;

use crate::{
    args::{Cli, Format},
    output::Writer,
    session::Session,
};

/// The exit status of what was done.
const DONE: u8 = 0;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return error::usage(&error, error::wants_json(std::env::args_os())),
    };
    let is_json = cli.global.output == Format::Json;
    match start(cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) if Writer::is_closed_early(&failure) => ExitCode::from(DONE),
        Err(failure) => error::report(&failure, is_json),
    }
}

fn start(cli: Cli) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let mut session = Session::open(&cli.global).await?;
        commands::run(&mut session, cli.command).await
    })
}
