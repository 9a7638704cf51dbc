//! `Measure`: a stream of so many bytes each way, for figures about the way here.

use std::io;

use acp_base::Failure;
use acp_io_client::Upgraded;
use acp_io_link::limits::SPLICE_BYTES;
use acp_wire_api::agent::MeasureRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::limits::MEASURE_BYTES_MAX;

/// Refuses more than is measured.
pub(crate) fn check(request: &MeasureRequest) -> Result<(), Failure> {
    if request.send_bytes.max(request.receive_bytes) > MEASURE_BYTES_MAX {
        return Err(Failure::invalid(format!("at most {MEASURE_BYTES_MAX} bytes are measured each way")));
    }
    Ok(())
}

/// Takes what the caller sends, then sends what it asked for.
pub(crate) async fn run(request: MeasureRequest, mut io: Upgraded) {
    let exchange = async {
        take(&mut io, request.send_bytes).await?;
        give(&mut io, request.receive_bytes).await?;
        io.shutdown().await
    };
    if let Err(error) = exchange.await {
        tracing::debug!(%error, "a measurement was cut off");
    }
}

async fn take(io: &mut Upgraded, mut left: u64) -> io::Result<()> {
    let mut buffer = vec![0; SPLICE_BYTES];
    while left > 0 {
        let length = io.read(&mut buffer[..most(left)]).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        // Those who say little take their turns in between.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn give(io: &mut Upgraded, mut left: u64) -> io::Result<()> {
    let buffer = vec![0; SPLICE_BYTES];
    while left > 0 {
        let length = io.write(&buffer[..most(left)]).await?;
        left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// As much of what is left as is moved at once.
fn most(left: u64) -> usize {
    usize::try_from(left).map_or(SPLICE_BYTES, |left| left.min(SPLICE_BYTES))
}
