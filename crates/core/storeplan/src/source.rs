//! Where an image comes from.

use std::fmt;

/// The longest URL.
pub const URL_BYTES_MAX: usize = 4096;

/// A URL an image is fetched from. It may hold credentials: `Display` leaves them and the query out, and `Debug` does the
/// same.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    url: String,
}

/// Why a source is refused. The caller is at fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Another scheme, or none.
    #[error("an image is fetched from a URL that begins with http:// or https://")]
    Scheme,
    /// Nothing behind the scheme.
    #[error("the URL names no host")]
    NoHost,
    /// Longer than [`URL_BYTES_MAX`].
    #[error("a URL has at most {URL_BYTES_MAX} bytes")]
    TooLong,
    /// White space or a control character.
    #[error("a URL holds neither white space nor control characters; write them as %20 and the like")]
    Character,
    /// No checksum.
    #[error("a SHA-256 checksum has 64 hexadecimal digits")]
    Checksum,
}

impl Source {
    /// The source of that URL.
    pub fn parse(url: &str) -> Result<Self, SourceError> {
        if url.len() > URL_BYTES_MAX {
            return Err(SourceError::TooLong);
        }
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SourceError::Character);
        }
        let source = Self { url: url.to_owned() };
        let (_, host, _) = source.parts().ok_or(SourceError::Scheme)?;
        if host.is_empty() || host.starts_with(':') {
            return Err(SourceError::NoHost);
        }
        Ok(source)
    }

    /// The URL as given, credentials included.
    pub fn secret(&self) -> &str {
        &self.url
    }

    /// The URL as a line of a curl configuration file, quoted.
    pub fn to_curl_config(&self) -> String {
        let quoted = self.url.replace('\\', "\\\\").replace('"', "\\\"");
        format!("url = \"{quoted}\"\n")
    }

    /// Scheme, host with port, path.
    fn parts(&self) -> Option<(&str, &str, &str)> {
        let (scheme, rest) = self.url.split_once("://")?;
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_credentials, host)| host);
        Some((scheme, host, &path[..path.find(['?', '#']).unwrap_or(path.len())]))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, path) = self.parts().unwrap_or(("", "", ""));
        write!(f, "{scheme}://{host}{path}")
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// The checksum in lower case, if it is one.
pub fn check_sha256(text: &str) -> Result<String, SourceError> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(SourceError::Checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_shown_nowhere() {
        let source = Source::parse("https://me:p%40ss@host:8443/a/b.qcow2?token=secret#x").expect("a URL");
        assert_eq!(source.to_string(), "https://host:8443/a/b.qcow2");
        assert_eq!(format!("{source:?}"), "Source(https://host:8443/a/b.qcow2)");
        assert!(source.secret().contains("p%40ss"));
    }

    #[test]
    fn other_urls_are_refused() {
        for (url, error) in [
            ("file:///etc/passwd", SourceError::Scheme),
            ("ftp://host/x", SourceError::Scheme),
            ("/tmp/x", SourceError::Scheme),
            ("http://", SourceError::NoHost),
            ("http:///x", SourceError::NoHost),
            ("http://me@/x", SourceError::NoHost),
            ("http://host/a b", SourceError::Character),
            ("http://host/a\nurl = \"file:///etc/passwd\"", SourceError::Character),
        ] {
            assert_eq!(Source::parse(url), Err(error), "{url}");
        }
        assert_eq!(Source::parse(&format!("http://h/{}", "x".repeat(4096))), Err(SourceError::TooLong));
    }

    #[test]
    fn a_url_cannot_leave_its_line() {
        let source = Source::parse("http://h/\"\\x").expect("a URL");
        assert_eq!(source.to_curl_config(), "url = \"http://h/\\\"\\\\x\"\n");
    }

    #[test]
    fn checksums_are_checked() {
        let sum = "A".repeat(64);
        assert_eq!(check_sha256(&sum), Ok("a".repeat(64)));
        assert_eq!(check_sha256("abc"), Err(SourceError::Checksum));
        assert_eq!(check_sha256(&"g".repeat(64)), Err(SourceError::Checksum));
    }
}
