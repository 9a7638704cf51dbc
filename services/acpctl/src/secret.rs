//! Secrets that are handed to the program: read from a file, from the standard input, or typed without being shown.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal},
    path::Path,
};

use acp_base::{Code, Failure};

use crate::{args::TokenSource, error, terminal::RawMode};

/// The longest secret that is read, in bytes. A token has 134.
const SECRET_BYTES_MAX: usize = 1024;

/// Instead of a file: the standard input.
const STDIN: &str = "-";

/// What every token begins with.
const TOKEN_PREFIX: &str = "acpt.";

/// The keys that are not part of what is typed: as a terminal sends them.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];

/// The token, from wherever it is to come; `None` if it is to come from nowhere.
pub(crate) fn token(source: TokenSource) -> Result<Option<String>, Failure> {
    let text = match source {
        TokenSource { token: Some(token), .. } => token,
        TokenSource { token_file: Some(file), .. } if file == Path::new(STDIN) => {
            if io::stdin().is_terminal() {
                ask("Token: ")?
            } else {
                first_line(io::stdin().lock(), "the standard input")?
            }
        }
        TokenSource { token_file: Some(file), .. } => {
            let name = file.display().to_string();
            first_line(BufReader::new(File::open(&file).map_err(|error| unreadable(&name, &error))?), &name)?
        }
        TokenSource { .. } => return Ok(None),
    };
    checked(text.trim()).map(Some)
}

/// The text is not repeated: it may be a secret for something else.
fn checked(text: &str) -> Result<String, Failure> {
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = text.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('.'));
    match parts {
        Some((authority, secret)) if is_hex(authority) && is_hex(secret) => Ok(text.to_owned()),
        _ => Err(Failure::invalid(
            "this is no token: `acpctl node token create` on a member prints one, acpt.AUTHORITY.SECRET",
        )),
    }
}

fn first_line(input: impl BufRead, name: &str) -> Result<String, Failure> {
    let mut line = String::new();
    let bound = u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX);
    input.take(bound).read_line(&mut line).map_err(|error| unreadable(name, &error))?;
    Ok(line)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::invalid(format!("no token can be read from {name}: {error}"))
}

/// Asks on the terminal; what is typed is not shown.
fn ask(prompt: &str) -> Result<String, Failure> {
    let broken = |error: io::Error| Failure::internal(format!("cannot ask: {error}"));
    let raw = RawMode::enter().map_err(broken)?;
    io::Write::write_all(&mut io::stderr(), prompt.as_bytes()).map_err(broken)?;
    let typed = typed(io::stdin().lock());
    drop(raw);
    error::say("");
    typed
}

/// What is typed before the end of the line. The terminal is in raw mode: its keys arrive as bytes.
fn typed(input: impl BufRead) -> Result<String, Failure> {
    let mut text = Vec::new();
    for byte in input.bytes() {
        match byte.map_err(|error| unreadable("the terminal", &error))? {
            b'\r' | b'\n' => break,
            INTERRUPT | END => return Err(Failure::new(Code::Cancelled, "no token was given: nothing was changed")),
            byte if BACKSPACE.contains(&byte) => drop(text.pop()),
            _ if text.len() == SECRET_BYTES_MAX => return Err(Failure::invalid("that is too long for a token")),
            byte => text.push(byte),
        }
    }
    String::from_utf8(text).map_err(|_other_bytes| Failure::invalid("a token consists of letters, digits and dots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognized_and_never_repeated() {
        assert_eq!(checked("acpt.0aF.77"), Ok("acpt.0aF.77".to_owned()));
        for bad in ["", "acpt", "acpt..", "acpt.00", "acpt.00.", "acpk.00.00", "acpt.00.zz", "acpt.0.1.2"] {
            let failure = checked(bad).expect_err(bad);
            assert_eq!(failure.code, Code::InvalidArgument);
            assert!(bad.len() < 6 || !failure.message.contains(bad), "{failure}");
        }
    }

    #[test]
    fn only_the_first_line_of_a_file_counts() {
        assert_eq!(first_line("acpt.1.2\nrest".as_bytes(), "x").expect("a line"), "acpt.1.2\n");
        assert_eq!(first_line([b'a'; 5000].as_slice(), "x").expect("cut").len(), SECRET_BYTES_MAX);
        assert!(first_line([0xff, b'\n'].as_slice(), "x").is_err());
    }

    #[test]
    fn keys_edit_end_and_leave() {
        assert_eq!(typed(b"acx\x7fpt\rnever".as_slice()), Ok("acpt".to_owned()));
        assert_eq!(typed(b"\x08a".as_slice()), Ok("a".to_owned()));
        assert_eq!(typed(b"acpt\x03\r".as_slice()).expect_err("left").code, Code::Cancelled);
        assert_eq!(typed([b'a'; SECRET_BYTES_MAX + 1].as_slice()).expect_err("long").code, Code::InvalidArgument);
    }
}
