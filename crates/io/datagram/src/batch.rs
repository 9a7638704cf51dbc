//! What arrived together: a fixed number of buffers that are used again and again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::UdpSocket;

use crate::{
    limits::{BATCH, MTU_BYTES},
    open::Arrival,
    path::Path,
};

/// A buffer is one byte larger than any datagram, which tells longer ones: the kernel cuts them off.
const BUFFER_BYTES: usize = MTU_BYTES + 1;

/// Buffers for what two sockets give at once, and what they hold.
#[derive(Debug)]
pub struct Batch {
    slots: Vec<Slot>,
    filled: usize,
}

#[derive(Debug)]
struct Slot {
    bytes: [u8; BUFFER_BYTES],
    length: usize,
    from: SocketAddr,
    path: Path,
}

impl Slot {
    const EMPTY: Self = Self {
        bytes: [0; BUFFER_BYTES],
        length: 0,
        from: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        path: Path::Unicast,
    };
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        let slots = std::iter::repeat_with(|| Slot::EMPTY).take(2 * BATCH).collect();
        Self { slots, filled: 0 }
    }

    /// What arrived, to be opened in place.
    pub fn arrivals(&mut self) -> impl Iterator<Item = Arrival<'_>> {
        self.slots[..self.filled].iter_mut().map(|slot| Arrival {
            bytes: &mut slot.bytes[..slot.length],
            from: slot.from,
            path: slot.path,
        })
    }

    /// How many datagrams it holds.
    pub const fn count(&self) -> usize {
        self.filled
    }

    pub(crate) const fn clear(&mut self) {
        self.filled = 0;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.filled == 0
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes what a socket has, [`BATCH`] tries at most so that the other one has its turn.
pub(crate) fn drain(socket: &UdpSocket, path: Path, batch: &mut Batch) -> io::Result<()> {
    for _ in 0..BATCH {
        let Some(slot) = batch.slots.get_mut(batch.filled) else { break };
        match socket.try_recv_from(&mut slot.bytes) {
            Ok((length, from)) => {
                (slot.length, slot.from, slot.path) = (length, from, path);
                batch.filled += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What other hosts have said by ICMP about something that was sent, and interruptions: the next try is another matter.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::Interrupted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}
