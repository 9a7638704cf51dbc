//! A connected socket and its two halves.

use std::{io, sync::Arc};

use tokio::net::UnixStream;

use crate::{Account, Purpose, Reader, Writer};

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user id at the time of connecting.
    pub uid: u32,
    /// The process id at the time of connecting; 0 if it lies in another pid namespace.
    pub pid: u32,
}

impl Peer {
    /// Who is at the other end of this stream.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        Ok(Self { uid: credentials.uid(), pid })
    }
}

/// Splits a connected stream; the reader refuses messages above `message_bytes_max`. With an account, what the halves hold
/// beyond a few KiB counts there.
pub fn split(stream: UnixStream, message_bytes_max: usize, account: Option<Arc<Account>>) -> (Reader, Writer) {
    let stream = Arc::new(stream);
    let receiving = Held::new(account.clone(), Purpose::Receiving);
    let sending = Held::new(account, Purpose::Sending);
    (Reader::new(Arc::clone(&stream), message_bytes_max, receiving), Writer::new(stream, sending))
}

/// What one half holds, said to the account when it changes.
#[derive(Debug)]
pub(crate) struct Held {
    account: Option<Arc<Account>>,
    purpose: Purpose,
    bytes: usize,
}

impl Held {
    fn new(account: Option<Arc<Account>>, purpose: Purpose) -> Self {
        Self { account, purpose, bytes: 0 }
    }

    /// Holds this many bytes from now on.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.bytes = bytes;
            if let Some(account) = &self.account {
                account.hold(self.purpose, bytes);
            }
        }
    }
}
