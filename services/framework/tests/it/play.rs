//! A unit that speaks `sd_notify(3)`: this very test program, started by the framework as the template `play`.

use std::{
    io::{Read as _, Write as _},
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::{UnixDatagram, UnixListener},
    },
    time::Duration,
};

/// Environment variable that makes this test the unit. It says how the unit plays.
pub(crate) const MODE: &str = "ACP_PLAY";

/// Is ready, says every 100 ms that it lives, and answers `pong PID` to whoever connects to its socket.
pub(crate) const LIVELY: &str = "lively";

/// Is ready and then says nothing.
pub(crate) const SILENT: &str = "silent";

#[test]
fn play() {
    let Ok(mode) = std::env::var(MODE) else { return };
    let notify = std::env::var("NOTIFY_SOCKET").expect("the framework gives one");
    let socket = UnixDatagram::unbound().expect("a socket");
    let say = |text: &str| drop(socket.send_to(text.as_bytes(), &notify));
    say("READY=1");
    if mode == SILENT {
        loop {
            std::thread::park();
        }
    }
    assert_eq!(mode, LIVELY);
    assert_eq!(std::env::var("LISTEN_PID").as_deref(), Ok(std::process::id().to_string().as_str()));
    assert_eq!(std::env::var("LISTEN_FDNAMES").as_deref(), Ok("varlink"));
    std::thread::spawn(answer);
    loop {
        say("READY=1\nWATCHDOG=1");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[expect(unsafe_code, reason = "an inherited descriptor is known by its number alone")]
fn answer() {
    // SAFETY: the framework passed a listening socket as descriptor 3, and nothing else in this process uses it.
    let listener = UnixListener::from(unsafe { OwnedFd::from_raw_fd(3) });
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepted");
        let mut byte = [0];
        if stream.read(&mut byte).is_ok_and(|count| count == 1) {
            drop(stream.write_all(format!("pong {}", std::process::id()).as_bytes()));
        }
    }
}
