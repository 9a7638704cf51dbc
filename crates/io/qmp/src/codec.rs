//! Bytes to messages and back: QMP is one JSON object a line.

use serde_json::{Map, Value, json};

use crate::error::{DecodeError, ErrorClass};

/// The longest message in either direction, in bytes. The longest answer a machine gives in practice is the schema
/// (about 200 KiB), which nobody here asks for.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Capacity that an empty buffer may keep: enough for every usual message, little enough for an idle process.
const IDLE_CAPACITY_MAX: usize = 16 << 10;

/// What a server says of itself first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// QEMU's version, like `7.2.22`; empty if it did not say.
    pub version: String,
    /// QEMU's package, as its distribution words it.
    pub package: String,
}

/// Something that happened in QEMU.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, like `SHUTDOWN`.
    pub name: String,
    /// Its data; `null` if there is none.
    pub data: Value,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first one.
    Greeting(Greeting),
    /// A command's result.
    Return {
        /// The command's id.
        id: Option<u64>,
        /// The result.
        value: Value,
    },
    /// A command's refusal.
    Error {
        /// The command's id.
        id: Option<u64>,
        /// QEMU's class.
        class: ErrorClass,
        /// QEMU's words.
        desc: String,
    },
    /// An event.
    Event(Event),
    /// JSON of a shape this client does not know; to be ignored.
    Unknown,
}

/// Collects bytes and cuts them into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the beginning of `buffer` that were handed out.
    consumed: usize,
    /// Bytes of `buffer` known to hold no line end beyond `consumed`.
    scanned: usize,
}

impl Decoder {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one. After an error the decoder is of no further use.
    pub fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        while let Some(line) = self.next_line()? {
            let line = self.buffer[line].trim_ascii();
            if !line.is_empty() {
                return parse(line).map(Some);
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>, DecodeError> {
        let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.compact();
            return if self.buffer.len() > MESSAGE_BYTES_MAX { Err(DecodeError::TooLong) } else { Ok(None) };
        };
        let line = self.consumed..self.scanned + end;
        self.consumed = line.end + 1;
        self.scanned = self.consumed;
        if line.len() > MESSAGE_BYTES_MAX { Err(DecodeError::TooLong) } else { Ok(Some(line)) }
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.scanned = self.buffer.len();
        if self.buffer.is_empty() {
            self.buffer.shrink_to(IDLE_CAPACITY_MAX);
        }
    }
}

fn parse(line: &[u8]) -> Result<Message, DecodeError> {
    let value: Value = serde_json::from_slice(line).map_err(DecodeError::NotJson)?;
    let Value::Object(mut message) = value else { return Ok(Message::Unknown) };
    let id = message.get("id").and_then(Value::as_u64);
    if let Some(value) = message.remove("return") {
        return Ok(Message::Return { id, value });
    }
    if let Some(Value::Object(error)) = message.remove("error") {
        return Ok(Message::Error {
            id,
            class: ErrorClass::from_name(text(&error, "class")),
            desc: text(&error, "desc").into(),
        });
    }
    if let Some(Value::String(name)) = message.remove("event") {
        return Ok(Message::Event(Event { name, data: message.remove("data").unwrap_or_default() }));
    }
    Ok(message.remove("QMP").map_or(Message::Unknown, |greeting| Message::Greeting(parse_greeting(&greeting))))
}

fn parse_greeting(greeting: &Value) -> Greeting {
    let version = &greeting["version"];
    let part = |name: &str| version["qemu"][name].as_u64();
    let number = match (part("major"), part("minor"), part("micro")) {
        (Some(major), Some(minor), Some(micro)) => format!("{major}.{minor}.{micro}"),
        _ => String::new(),
    };
    Greeting { version: number, package: version["package"].as_str().unwrap_or_default().to_owned() }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A command as one line.
pub(crate) fn encode(command: &str, arguments: &Value, id: u64) -> Vec<u8> {
    let mut message = json!({ "execute": command, "id": id });
    if !arguments.is_null() {
        message["arguments"] = arguments.clone();
    }
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Message> {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        std::iter::from_fn(|| decoder.next_message().expect("valid")).collect()
    }

    #[test]
    fn messages_are_told_apart() {
        let bytes = concat!(
            "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 1, \"major\": 9}, \"package\": \"x\"}, \"capabilities\": [\"oob\"]}}\r\n",
            "{\"return\": {}, \"id\": 7}\r\n\r\n",
            "{\"id\": 8, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no\", \"new\": 1}}\n",
            "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"NEVER_HEARD_OF\"}\n",
            "{\"surprise\": true}\n[1]\n",
        );
        let expected = vec![
            Message::Greeting(Greeting { version: "9.1.2".into(), package: "x".into() }),
            Message::Return { id: Some(7), value: json!({}) },
            Message::Error { id: Some(8), class: ErrorClass::DeviceNotFound, desc: "no".into() },
            Message::Event(Event { name: "NEVER_HEARD_OF".into(), data: Value::Null }),
            Message::Unknown,
            Message::Unknown,
        ];
        assert_eq!(all(bytes.as_bytes()), expected);
    }

    #[test]
    fn a_message_may_come_in_any_pieces() {
        let bytes = b"{\"return\": 1, \"id\": 1}\r\n{\"return\": 2, \"id\": 2}\r\n";
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(piece);
                seen.extend(std::iter::from_fn(|| decoder.next_message().expect("valid")));
            }
            assert_eq!(seen.len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_line_is_refused_and_memory_is_given_back() {
        let mut decoder = Decoder::default();
        decoder.push(&vec![b' '; MESSAGE_BYTES_MAX]);
        assert!(matches!(decoder.next_message(), Ok(None)));
        decoder.push(b"  ");
        assert!(matches!(decoder.next_message(), Err(DecodeError::TooLong)));

        let mut decoder = Decoder::default();
        decoder.push(format!("{{\"return\": \"{}\"}}\n", "x".repeat(500_000)).as_bytes());
        assert!(matches!(decoder.next_message(), Ok(Some(Message::Return { .. }))));
        assert!(matches!(decoder.next_message(), Ok(None)));
        assert!(decoder.buffer.capacity() <= IDLE_CAPACITY_MAX, "{}", decoder.buffer.capacity());
    }

    #[test]
    fn a_command_without_arguments_has_no_such_key() {
        assert_eq!(encode("cont", &Value::Null, 3), b"{\"execute\":\"cont\",\"id\":3}\n");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_never_panic(pieces in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0..20)) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.push(&piece);
                while let Ok(Some(_)) = decoder.next_message() {}
            }
        }

        #[test]
        fn any_json_line_never_panics(key in "QMP|return|error|event|id|data", value in "\\PC{0,40}|\\{\"version\":[0-9]\\}|-?[0-9]{1,25}|null|\\[+") {
            let mut decoder = Decoder::default();
            decoder.push(format!("{{\"{key}\": {value}}}\n").as_bytes());
            drop(decoder.next_message());
        }
    }
}
