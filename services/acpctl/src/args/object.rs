//! Verbs on objects of any kind.

use std::str::FromStr;

use acp_wire_api::cluster::{Selector, SelectorOp};
use acp_wire_model::Kind;
use clap::Subcommand;

/// Verbs on objects.
#[derive(Clone, Debug, Subcommand)]
pub enum ObjectVerb {
    /// Show one object
    Get {
        /// node, system, network, pool, image, volume, service or job
        kind: Kind,
        /// Its name
        name: String,
        /// Show what was asked of it when the entry of this index had been applied
        #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "consistent")]
        at: Option<u64>,
        /// Show it with everything that was acknowledged anywhere before: needs a quorum
        #[arg(long)]
        consistent: bool,
    },
    /// Show in what an object's spec differs between two indexes of the log
    Diff {
        /// node, system, network, pool or image
        kind: Kind,
        /// Its name, which it has at both
        name: String,
        /// The one index
        #[arg(value_name = "A", value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
        /// The other one
        #[arg(value_name = "B", value_parser = clap::value_parser!(u64).range(1..))]
        to: u64,
    },
    /// List objects of a kind
    List {
        /// node, system, network, pool, image, volume, service or job
        kind: Kind,
        /// Only objects whose value at PATH is, or with != is not, VALUE; paths are name, uid, spec.KEY and meta.KEY
        #[arg(long, value_name = "PATH=VALUE")]
        selector: Vec<SelectorArg>,
        /// List what was asked when the entry of this index had been applied; paths are name, uid and spec.KEY then
        #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
        at: Option<u64>,
    },
    /// Print objects of a kind and then every change
    Watch {
        /// node, system, network, pool, image, volume, service or job
        kind: Kind,
        /// Continue after this cursor of an earlier watch
        #[arg(long)]
        cursor: Option<String>,
    },
}

/// A condition as typed: `path=value` or `path!=value`.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectorArg(pub Selector);

impl FromStr for SelectorArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(format!("{text:?} is no condition: write PATH=VALUE or PATH!=VALUE"));
        };
        let (path, op) = match path.strip_suffix('!') {
            Some(path) => (path, SelectorOp::Ne),
            None => (path, SelectorOp::Eq),
        };
        if path.is_empty() {
            return Err(format!("{text:?} names no path before the {}", if op == SelectorOp::Eq { "=" } else { "!=" }));
        }
        Ok(Self(Selector { path: path.to_owned(), op, value: value.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let read = |text: &str| text.parse::<SelectorArg>().map(|SelectorArg(s)| (s.path, s.op, s.value));
        assert_eq!(read("spec.node=n1"), Ok(("spec.node".into(), SelectorOp::Eq, "n1".into())));
        assert_eq!(read("meta.state!=running"), Ok(("meta.state".into(), SelectorOp::Ne, "running".into())));
        assert_eq!(read("name=a=b"), Ok(("name".into(), SelectorOp::Eq, "a=b".into())));
        assert_eq!(read("meta.reason="), Ok(("meta.reason".into(), SelectorOp::Eq, String::new())));
        assert!(read("state").is_err());
        assert!(read("=x").is_err());
        assert!(read("!=x").is_err());
    }
}
