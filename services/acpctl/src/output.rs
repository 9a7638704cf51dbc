//! How results reach the caller: one writer for the standard output, three formats.
//!
//! **Invariant**: what is printed as JSON or YAML never depends on terminals, colours or widths.

mod age;
mod cell;
mod sections;
mod table;
mod writer;
mod yaml;

use std::io::IsTerminal;

use acp_base::Failure;
use serde::Serialize;
use serde_json::Value;

use self::age::{STALE_MS, age};
pub(crate) use self::{
    age::{ago, until},
    cell::Style,
    table::{Column, now_ms},
    writer::Writer,
};
use crate::args::Format;

/// Prints results in the format asked for.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    writer: Writer,
    has_colour: bool,
}

impl Output {
    /// An output to the standard output, with colours if it is a terminal that wants them.
    pub(crate) fn new(format: Format) -> Self {
        let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { format, writer: Writer::stdout(), has_colour: wants_colour && std::io::stdout().is_terminal() }
    }

    /// Whether people read the result.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Where bytes go that have no format, like logs.
    pub(crate) fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// A list of objects as seen by [`crate::view`]: a table with these columns, or the objects.
    pub(crate) fn list(&mut self, rows: &[Value], columns: &[Column]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.writer.text(&table::render(rows, columns, self.has_colour)),
            Format::Json | Format::Yaml => self.value(&Value::Array(rows.to_vec())),
        }
    }

    /// A table as text, for what is more than a list.
    pub(crate) fn table(&self, rows: &[Value], columns: &[Column]) -> String {
        table::render(rows, columns, self.has_colour)
    }

    /// One object: its parts in sections, or as it is.
    pub(crate) fn object(&mut self, object: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.writer.text(&sections::render(object)),
            Format::Json | Format::Yaml => self.value(object),
        }
    }

    /// What was done: a sentence for people, fields for programs.
    pub(crate) fn done<T: Serialize>(&mut self, sentence: &str, fields: &T) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.writer.text(&format!("{sentence}\n")),
            Format::Json | Format::Yaml => self.value(&to_value(fields)?),
        }
    }

    /// One item of a stream: a line of JSON, a document of YAML, or the given line.
    pub(crate) fn item(&mut self, line: &str, fields: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.writer.text(&format!("{line}\n")),
            Format::Json => self.writer.text(&format!("{fields}\n")),
            Format::Yaml => self.writer.text(&format!("---\n{}", yaml::render(fields))),
        }
    }

    fn value(&mut self, value: &Value) -> Result<(), Failure> {
        let text = match self.format {
            Format::Yaml => yaml::render(value),
            Format::Table | Format::Json => format!("{value:#}\n"),
        };
        self.writer.text(&text)
    }
}

/// A reply as a value.
pub(crate) fn to_value<T: Serialize>(fields: &T) -> Result<Value, Failure> {
    serde_json::to_value(fields).map_err(|error| Failure::internal(format!("the result cannot be written: {error}")))
}
