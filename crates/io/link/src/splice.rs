//! Two streams made one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use crate::limits::{SPLICE_BYTES, SPLICE_FIRST_BYTES};

/// Bytes that went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spliced {
    /// From the caller to the service.
    pub there: u64,
    /// From the service to the caller.
    pub back: u64,
}

/// Carries bytes between a caller and a service until the conversation is over; then neither of the two is open any more.
///
/// A caller that has said everything may go on listening. A service that has ended its side will not listen any more: the
/// conversation is over then, whatever the caller still says. An error of either ends both at once.
pub async fn splice<C, S>(caller: C, service: S) -> io::Result<Spliced>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (from_caller, to_caller) = split(caller);
    let (from_service, to_service) = split(service);
    let (mut there, mut back) = (0, 0);
    {
        let mut asking = std::pin::pin!(carry(from_caller, to_service, &mut there));
        let mut answering = std::pin::pin!(carry(from_service, to_caller, &mut back));
        tokio::select! {
            answered = &mut answering => answered?,
            asked = &mut asking => {
                asked?;
                answering.await?;
            }
        }
    }
    Ok(Spliced { there, back })
}

/// So much at once is no call: a TLS record's worth.
const MUCH_BYTES: usize = 16 * 1024;

/// Carries one direction to its end and passes the end on.
async fn carry<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    count: &mut u64,
) -> io::Result<()> {
    let mut buffer = vec![0; SPLICE_FIRST_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
        *count += u64::try_from(length).unwrap_or(u64::MAX);
        if length == buffer.len() && length < SPLICE_BYTES {
            buffer = vec![0; SPLICE_BYTES];
        }
        if length >= MUCH_BYTES {
            // Whoever moves much takes turns with those who say little: a ready stream would go on for milliseconds.
            tokio::task::yield_now().await;
        }
    }
}
