//! The task that keeps a console connected to QEMU: the connection's output says when to look into the log, and what is
//! typed goes the other way.

use std::{path::PathBuf, time::Duration};

use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use super::{Console, INPUT_BYTES_MAX};
use crate::{
    ailments::{Ailments, Part},
    metrics,
};

/// The pause between attempts to connect; the log is looked into meanwhile.
const CONNECT_PAUSE: Duration = Duration::from_millis(250);

/// When the log is looked into after the connection brought something: at once, and later for what QEMU, which writes the
/// connection first and the log then, had not written yet. After the last look the log is held to be broken.
const LOOKS: [Duration; 4] =
    [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(250)];

/// The same after connecting: QEMU accepts late, and what the guest says before that reaches the log alone.
const LOOKS_AFTER_CONNECT: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// Reads of the connection in one turn, so that a flood cannot keep the others waiting.
const READS_MAX: usize = 16;

/// Keeps one console connected; see [`Console::feed`].
#[derive(Debug)]
pub(crate) struct Feed {
    console: Console,
    socket: PathBuf,
    typed: mpsc::Receiver<Vec<u8>>,
    ailments: Ailments,
    /// Input on its way to QEMU.
    outgoing: Vec<u8>,
    /// The looks still to come, and when the next is due.
    looks: &'static [Duration],
    due: Instant,
    is_log_broken: bool,
}

impl Feed {
    pub(super) fn new(console: Console, socket: PathBuf, typed: mpsc::Receiver<Vec<u8>>, ailments: Ailments) -> Self {
        Self {
            console,
            socket,
            typed,
            ailments,
            outgoing: Vec::new(),
            looks: &[],
            due: Instant::now(),
            is_log_broken: false,
        }
    }

    /// Connects, moves bytes, connects again; never returns.
    pub(crate) async fn run(mut self) {
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => self.attend(&stream).await,
                Err(error) => debug!(%error, "the console is not there yet"),
            }
            self.look();
            sleep(CONNECT_PAUSE).await;
        }
    }

    async fn attend(&mut self, stream: &UnixStream) {
        info!("console connected");
        self.look();
        self.console.settled();
        self.schedule(&LOOKS_AFTER_CONNECT);
        while self.turn(stream).await.is_continue() {}
        info!("console disconnected");
        self.look();
        self.console.show_waiting();
        self.console.settled();
        self.console.finish();
        // What was typed for this guest is not for the next.
        self.outgoing.clear();
        while self.typed.try_recv().is_ok() {}
    }

    async fn turn(&mut self, stream: &UnixStream) -> std::ops::ControlFlow<()> {
        let is_idle = self.outgoing.is_empty();
        let is_looking = !self.looks.is_empty();
        let outcome = tokio::select! {
            ready = stream.readable() => ready.and_then(|()| self.receive(stream)),
            ready = stream.writable(), if !is_idle => ready.and_then(|()| self.send(stream)),
            Some(input) = self.typed.recv(), if is_idle => { self.outgoing = input; Ok(true) }
            () = sleep_until(self.due), if is_looking => { self.looked(); Ok(true) }
        };
        self.trim().await;
        match outcome {
            Ok(true) => std::ops::ControlFlow::Continue(()),
            Ok(false) => std::ops::ControlFlow::Break(()),
            Err(error) => {
                debug!(%error, "the console's connection failed");
                std::ops::ControlFlow::Break(())
            }
        }
    }

    /// Takes what QEMU sent; answers whether the connection goes on.
    fn receive(&mut self, stream: &UnixStream) -> std::io::Result<bool> {
        self.look();
        let mut chunk = [0; INPUT_BYTES_MAX];
        for _ in 0..READS_MAX {
            match stream.try_read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(count) => self.console.received(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.console.settled();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.look();
        self.schedule(&LOOKS);
        Ok(true)
    }

    fn send(&mut self, stream: &UnixStream) -> std::io::Result<bool> {
        match stream.try_write(&self.outgoing) {
            Ok(count) => {
                self.outgoing.drain(..count);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn schedule(&mut self, looks: &'static [Duration]) {
        // A log known to be broken is not waited for.
        self.looks = if self.is_log_broken { &looks[..1] } else { looks };
        self.due = Instant::now() + looks[0];
    }

    /// A scheduled look, and the next one; after the last, what the log did not take is shown.
    fn looked(&mut self) {
        self.look();
        self.looks = self.looks.split_first().map_or(&[], |(_, rest)| rest);
        if let Some(next) = self.looks.first() {
            self.due = Instant::now() + *next;
            return;
        }
        let is_broken = self.console.is_waiting();
        if is_broken {
            self.console.show_waiting();
        }
        if is_broken != self.is_log_broken {
            self.log_broken(is_broken);
        }
    }

    fn log_broken(&mut self, is_broken: bool) {
        self.is_log_broken = is_broken;
        if is_broken {
            warn!("the console's log does not take the output");
            let reason = "the console's log does not take the output (is its disk full?): only those attached see it";
            self.ailments.set(Part::ConsoleLog, Some(reason.to_owned()));
        } else {
            info!("the console's log takes the output again");
            self.ailments.set(Part::ConsoleLog, None);
        }
    }

    fn look(&self) {
        if let Err(error) = self.console.read_log() {
            debug!(%error, "the console's log cannot be read");
        }
    }

    async fn trim(&self) {
        match self.console.trim().await {
            Ok(true) => metrics::trimmed(),
            Ok(false) => {}
            Err(error) => warn!(%error, "the console's log cannot be trimmed"),
        }
    }
}
