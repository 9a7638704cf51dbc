//! `Measure`: a stream of so many bytes each way, for figures about the way here.

use acp_base::Failure;
use acp_io_client::Upgraded;
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
        let taken = tokio::io::copy(&mut (&mut io).take(request.send_bytes), &mut tokio::io::sink()).await?;
        if taken == request.send_bytes {
            tokio::io::copy(&mut tokio::io::repeat(0).take(request.receive_bytes), &mut io).await?;
            io.shutdown().await?;
        }
        Ok::<(), std::io::Error>(())
    };
    if let Err(error) = exchange.await {
        tracing::debug!(%error, "a measurement was cut off");
    }
}
