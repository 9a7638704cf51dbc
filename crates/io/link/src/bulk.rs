//! Bulk streams: a TLS connection each, raw after one exchange.

use std::time::Duration;

use acp_base::Failure;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{LinkError, Opening, error::timed_out, limits::OPENING_BYTES_MAX};

/// Says what the stream is for and waits until the other side agrees. Then the stream is the conversation.
pub async fn open_bulk<S>(stream: &mut S, opening: &Opening, limit: Duration) -> Result<(), LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        send(stream, &opening.encode()?).await?;
        let answer = receive(stream).await?;
        serde_json::from_slice::<Option<Failure>>(&answer).map_err(|_garbage| LinkError::Garbage)
    };
    match timeout(limit, exchange).await.map_err(|_late| timed_out(limit))?? {
        None => Ok(()),
        Some(failure) => Err(LinkError::Denied(failure)),
    }
}

/// Reads what a stream is for, lets `decide`, and answers. On success the stream is the conversation.
pub async fn accept_bulk<S, T, F>(stream: &mut S, limit: Duration, decide: F) -> Result<T, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: AsyncFnOnce(Opening) -> Result<T, Failure>,
{
    let exchange = async {
        let opening = Opening::decode(&receive(stream).await?)?;
        let decided = decide(opening).await;
        let answer = serde_json::to_vec(&decided.as_ref().err()).map_err(|_unprintable| LinkError::Garbage)?;
        send(stream, &answer).await?;
        decided.map_err(LinkError::Denied)
    };
    timeout(limit, exchange).await.map_err(|_late| timed_out(limit))?
}

/// A length in two bytes, big end first, and so many bytes.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), LinkError> {
    let length = u16::try_from(bytes.len()).map_err(|_long| LinkError::Oversized(bytes.len()))?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(bytes);
    let sent = async {
        stream.write_all(&message).await?;
        stream.flush().await
    };
    sent.await.map_err(|ended| LinkError::of_ended(&ended))
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, LinkError> {
    let length = usize::from(stream.read_u16().await.map_err(|ended| LinkError::of_ended(&ended))?);
    if length > OPENING_BYTES_MAX {
        return Err(LinkError::Oversized(length));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.map_err(|ended| LinkError::of_ended(&ended))?;
    Ok(bytes)
}
