//! Whom a request is for: a page of another site that has its name resolve to a loopback address must not be served.

use std::net::IpAddr;

use axum::http::{Request, Uri, header, uri::Authority};

/// Whether the request names a loopback address or `localhost`, in `Host` and, if it has one, in its target.
pub(crate) fn is_ours<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let is_named =
        host.to_str().ok().and_then(|text| text.parse::<Authority>().ok()).is_some_and(|host| is_loopback(&host));
    is_named && request.uri().authority().is_none_or(is_loopback)
}

/// Whether a page that sends requests from this origin is our own.
pub(crate) fn is_our_origin(origin: &str) -> bool {
    origin.parse::<Uri>().ok().is_some_and(|uri| uri.authority().is_some_and(is_loopback))
}

fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(hosts: &[&str], target: &str) -> Request<()> {
        let mut builder = Request::builder().uri(target);
        for host in hosts {
            builder = builder.header(header::HOST, *host);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn only_loopback_names_and_addresses_are_served() {
        for host in ["localhost", "LOCALHOST:9933", "127.0.0.1", "127.0.0.1:9933", "127.8.8.8:1", "[::1]:9933", "[::1]"]
        {
            assert!(is_ours(&request(&[host], "/v1/health")), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "10.0.0.1:9933",
            "0.0.0.0",
            "[::]:9933",
            "a@localhost",
            "",
            "localhost, example.org",
        ] {
            assert!(!is_ours(&request(&[host], "/v1/health")), "{host}");
        }
        assert!(!is_ours(&request(&[], "/v1/health")), "no host");
        assert!(!is_ours(&request(&["localhost", "localhost"], "/v1/health")), "two hosts");
        assert!(!is_ours(&request(&["localhost"], "http://example.org/v1/health")), "the target counts, too");
        assert!(is_ours(&request(&["localhost"], "http://127.0.0.1:9933/v1/health")));
    }

    #[test]
    fn a_foreign_page_is_not_our_origin() {
        assert!(is_our_origin("http://localhost:9933"));
        for origin in ["null", "http://example.org", "http://localhost.example.org", ""] {
            assert!(!is_our_origin(origin), "{origin}");
        }
    }
}
