//! The other end: a controller's hub has dialled this one.

use std::{io, sync::Arc};

use acp_base::Uid;
use acp_io_daemon::Tasks;
use acp_io_varlink::Upgraded;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Frames, Kind, write};

/// Questions of one peer that are being answered. It waits with more.
const ANSWERING_MAX: usize = 64;

/// Who answers a peer's frames.
pub(crate) trait Serving: Send + Sync + 'static {
    /// Answers a frame of the log's replication.
    fn raft(&self, from: Uid, frame: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send;
    /// Answers a question; both are JSON.
    fn ask(&self, from: Uid, question: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send;
    /// Hears how far a voter is.
    fn report(&self, from: Uid, report: &[u8]);
    /// Hears of a position that a majority has applied.
    fn checkpoint(&self, from: Uid, checkpoint: &[u8]);
}

/// Answers a peer until it hangs up, or the drain.
pub(crate) async fn serve<S: Serving>(
    serving: Arc<S>,
    from: Uid,
    way: Upgraded,
    tasks: Tasks,
    drain: CancellationToken,
) {
    let (reader, mut writer) = tokio::io::split(way);
    let (answers, mut answers_taken) = mpsc::channel(ANSWERING_MAX);
    let sending = async {
        while let Some(frame) = answers_taken.recv().await {
            write(&mut writer, &frame).await?;
        }
        Ok(())
    };
    let ended: io::Result<()> = tokio::select! {
        sent = sending => sent,
        received = receive(&serving, from, Frames::new(reader), answers, &tasks) => received,
        () = drain.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %from, %error, "a voter's conversation has ended");
    }
}

async fn receive<S: Serving, R: tokio::io::AsyncRead + Unpin>(
    serving: &Arc<S>,
    from: Uid,
    mut frames: Frames<R>,
    answers: mpsc::Sender<Frame>,
    tasks: &Tasks,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(ANSWERING_MAX));
    loop {
        let frame = frames.next().await?;
        match frame.kind {
            Kind::Report => serving.report(from, &frame.body),
            Kind::Checkpoint => serving.checkpoint(from, &frame.body),
            Kind::Answer => return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without a question")),
            Kind::Ping => {
                let pong = Frame { kind: Kind::Answer, number: frame.number, body: Vec::new() };
                answers.send(pong).await.map_err(io::Error::other)?;
            }
            Kind::Raft | Kind::Ask => {
                let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
                let (serving, answers) = (Arc::clone(serving), answers.clone());
                tasks.spawn("peer-answer", async move {
                    let body = match frame.kind {
                        Kind::Raft => serving.raft(from, frame.body).await,
                        _ => serving.ask(from, frame.body).await,
                    };
                    // Whoever has hung up needs no answer.
                    drop(answers.send(Frame { kind: Kind::Answer, number: frame.number, body }).await);
                    drop(permit);
                });
            }
        }
    }
}
