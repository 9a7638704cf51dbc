//! The handshake.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::broadcast,
};

use crate::{
    client::{Client, EVENTS_MAX, Events},
    codec::{self, Decoder, Greeting, Message},
    driver::Driver,
    error::ConnectError,
};

/// The id of the handshake's command; the driver counts on from it.
pub(crate) const HANDSHAKE_ID: u64 = 0;

/// Bytes read at once; an ordinary message is below 1 KiB.
pub(crate) const READ_BYTES: usize = 4096;

/// A connection that is set up.
#[derive(Debug)]
pub struct Session {
    /// What the server said of itself.
    pub greeting: Greeting,
    /// Executes commands.
    pub client: Client,
    /// Hears events.
    pub events: Events,
    /// Moves the bytes; its `run` must be polled.
    pub driver: Driver,
}

/// Sets up a connection on `stream`: waits for the greeting, which comes when QEMU accepts, and leaves negotiation mode.
pub async fn connect(stream: UnixStream, timeout: Duration) -> Result<Session, ConnectError> {
    tokio::time::timeout(timeout, handshake(stream)).await.map_err(|_elapsed| ConnectError::TimedOut(timeout))?
}

async fn handshake(mut stream: UnixStream) -> Result<Session, ConnectError> {
    let mut decoder = Decoder::default();
    let Message::Greeting(greeting) = receive(&mut stream, &mut decoder).await? else {
        return Err(ConnectError::NotQmp);
    };
    let line = codec::encode("qmp_capabilities", &Value::Null, HANDSHAKE_ID);
    stream.write_all(&line).await.map_err(ConnectError::Io)?;
    loop {
        let message = receive(&mut stream, &mut decoder).await?;
        match message {
            Message::Return { id: Some(HANDSHAKE_ID), .. } => break,
            Message::Error { class, desc, .. } => return Err(ConnectError::Refused { class, desc }),
            Message::Return { .. } | Message::Greeting(_) | Message::Event(_) | Message::Unknown => {}
        }
    }
    let (client, requests) = Client::new();
    let (sender, receiver) = broadcast::channel(EVENTS_MAX);
    let driver = Driver::new(stream, decoder, requests, sender);
    Ok(Session { greeting, client, events: Events(receiver), driver })
}

async fn receive(stream: &mut UnixStream, decoder: &mut Decoder) -> Result<Message, ConnectError> {
    let mut chunk = [0; READ_BYTES];
    loop {
        if let Some(message) = decoder.next_message().map_err(ConnectError::Decode)? {
            return Ok(message);
        }
        match stream.read(&mut chunk).await.map_err(ConnectError::Io)? {
            0 => return Err(ConnectError::Closed),
            count => decoder.push(&chunk[..count]),
        }
    }
}
