//! The client against a scripted server.

use std::time::Duration;

use acp_io_qmp::{Client, CloseReason, ConnectError, ErrorClass, Events, ExecuteError, Occurrence, Session, connect};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    task::JoinHandle,
};

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(5);
const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, \"capabilities\": []}}\r\n";

struct Server(BufReader<UnixStream>);

impl Server {
    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.expect("the client reads");
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("the client writes");
        serde_json::from_str(&line).expect("the client writes JSON")
    }

    async fn greet(&mut self) {
        self.say(GREETING).await;
        let command = self.hear().await;
        assert_eq!(command["execute"], "qmp_capabilities");
        self.say(&format!("{{\"return\": {{}}, \"id\": {}}}\r\n", command["id"])).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a test joins its one task itself")]
fn run(session: Session) -> (Client, Events, JoinHandle<CloseReason>) {
    (session.client, session.events, tokio::spawn(session.driver.run()))
}

async fn session() -> (Server, Client, Events, JoinHandle<CloseReason>) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut server = Server(BufReader::new(theirs));
    let (session, ()) = tokio::join!(connect(ours, LIMIT), server.greet());
    let session = session.expect("the handshake succeeds");
    assert_eq!(session.greeting.version, "7.2.0");
    let (client, events, driver) = run(session);
    (server, client, events, driver)
}

#[tokio::test]
async fn answers_find_their_commands_in_any_order() {
    let (mut server, client, _events, _driver) = session().await;
    let script = async {
        let first = server.hear().await;
        let second = server.hear().await;
        assert_eq!(first["arguments"], json!({"a": 1}));
        assert_eq!(second.get("arguments"), None);
        server.say(&format!("{{\"return\": \"two\", \"id\": {}}}\n", second["id"])).await;
        server.say("{\"return\": \"nobody asked\", \"id\": 999}\n{\"return\": \"no id\"}\n").await;
        server
            .say(&format!(
                "{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no\"}}, \"id\": {}}}\n",
                first["id"]
            ))
            .await;
    };
    let (first, second, ()) =
        tokio::join!(client.execute("one", json!({"a": 1})), client.execute("two", Value::Null), script);
    let refused = ExecuteError::Refused { command: "one".into(), class: ErrorClass::GenericError, desc: "no".into() };
    assert_eq!(first, Err(refused));
    assert_eq!(second, Ok(json!("two")));
}

#[tokio::test]
async fn events_arrive_and_a_slow_listener_is_told_what_it_missed() {
    let (mut server, client, mut events, _driver) = session().await;
    server.say("{\"event\": \"SOMETHING_NEW\", \"data\": {\"x\": 1}, \"extra\": []}\n").await;
    let Some(Occurrence::Event(event)) = events.next().await else { panic!("an event was sent") };
    assert_eq!((event.name.as_str(), event.data), ("SOMETHING_NEW", json!({"x": 1})));

    let flood = async {
        for _ in 0..1000 {
            server.say("{\"event\": \"NOISE\"}\n").await;
        }
        let command = server.hear().await;
        server.say(&format!("{{\"return\": {{}}, \"id\": {}}}\n", command["id"])).await;
    };
    let (answer, ()) = tokio::join!(client.execute("sync", Value::Null), flood);
    assert_eq!(answer, Ok(json!({})));
    assert!(matches!(events.next().await, Some(Occurrence::Missed(count)) if count > 800));
}

#[tokio::test]
async fn a_silent_server_costs_the_time_allowed_and_holds_its_place() {
    let (_server, client, _events, _driver) = session().await;
    let client = client.timeout(SHORT);
    for _ in 0..20 {
        let answer = client.execute("query-status", Value::Null).await;
        assert_eq!(answer, Err(ExecuteError::TimedOut { command: "query-status".into(), limit: SHORT }));
    }
}

#[tokio::test]
async fn the_end_of_the_connection_fails_what_waits_and_ends_the_events() {
    let (mut server, client, mut events, driver) = session().await;
    let end = async {
        server.hear().await;
        drop(server);
    };
    let (answer, ()) = tokio::join!(client.execute("quit", Value::Null), end);
    assert_eq!(answer, Err(ExecuteError::Closed { command: "quit".into() }));
    assert_eq!(events.next().await, None);
    assert!(matches!(driver.await.expect("the driver ends"), CloseReason::ByPeer));
    assert_eq!(client.execute("x", Value::Null).await, Err(ExecuteError::Closed { command: "x".into() }));
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    let (mut server, _client, _events, driver) = session().await;
    server.say("this is no JSON\n").await;
    assert!(matches!(driver.await.expect("the driver ends"), CloseReason::Decode(_)));
}

#[tokio::test]
async fn dropping_the_last_client_closes() {
    let (mut server, client, _events, driver) = session().await;
    drop(client);
    assert!(matches!(driver.await.expect("the driver ends"), CloseReason::ByUs));
    let mut rest = String::new();
    assert_eq!(server.0.read_line(&mut rest).await.expect("a clean end"), 0);
}

#[tokio::test]
async fn a_handshake_that_goes_wrong_says_how() {
    for (script, expected) in [
        ("hello\n", "the peer does not speak QMP"),
        ("{\"return\": {}}\n", "the peer is no QMP server: it did not begin with a greeting"),
        ("", "the peer closed the connection before it greeted"),
    ] {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        theirs.write_all(script.as_bytes()).await.expect("room");
        drop(theirs);
        let error = connect(ours, LIMIT).await.expect_err(script);
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_server_that_never_accepts_times_out() {
    let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
    assert!(matches!(connect(ours, SHORT).await, Err(ConnectError::TimedOut(SHORT))));
}

#[tokio::test]
async fn an_oversized_command_is_not_sent() {
    let (_server, client, _events, _driver) = session().await;
    let answer = client.execute("x", json!("y".repeat(acp_io_qmp::MESSAGE_BYTES_MAX))).await;
    assert!(matches!(answer, Err(ExecuteError::TooLong { bytes, .. }) if bytes > acp_io_qmp::MESSAGE_BYTES_MAX));
}
