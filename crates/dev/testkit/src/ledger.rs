//! What the clients of a node were promised, and whether it is kept after the node has died.
//!
//! A client says what it asks for before it asks ([`Line::Try`]) and what was acknowledged after it heard so ([`Line::Ack`]);
//! an audit says what is there ([`Line::Have`]) and what is wrong in itself ([`Line::Wrong`]). All of it is lines of text, so
//! that it crosses a serial port as well as a channel. Deliberately not here: how a node is asked.
//!
//! **Invariant**: after a death each subject is as it was last acknowledged, or as somebody had asked for since.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// Remarks kept for whoever looks into a failure.
const NOTES_MAX: usize = 20;
/// How a line writes that a subject is not there.
const ABSENT: &str = "-";

/// Something that can be there or not: a kind and a name, both without spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Like `network`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Subject {
    /// The subject of this kind and name.
    pub fn new(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

/// How a subject is: a word about what matters of it, or nothing if it is not there.
pub type State = Option<String>;

/// One thing that a client or an audit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The subject is about to be asked to be so.
    Try(Subject, State),
    /// It was acknowledged to be so.
    Ack(Subject, State),
    /// It was found to be so.
    Have(Subject, String),
    /// Something that ought not to be.
    Wrong(String),
    /// A remark.
    Note(String),
    /// All that is there was said.
    Audited,
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |state: &State| state.clone().unwrap_or_else(|| ABSENT.to_owned());
        match self {
            Self::Try(subject, asked) => write!(out, "try {subject} {}", state(asked)),
            Self::Ack(subject, promised) => write!(out, "ack {subject} {}", state(promised)),
            Self::Have(subject, found) => write!(out, "have {subject} {found}"),
            Self::Wrong(what) => write!(out, "wrong {}", what.replace('\n', " ")),
            Self::Note(what) => write!(out, "note {}", what.replace('\n', " ")),
            Self::Audited => out.write_str("audited"),
        }
    }
}

impl Line {
    /// Reads a line; nothing if it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        let subject = || {
            let mut words = rest.split(' ');
            let subject = Subject::new(words.next()?, words.next()?);
            let state = words.next()?.to_owned();
            words.next().is_none().then_some((subject, state))
        };
        let present = |state: String| (state != ABSENT).then_some(state);
        match word {
            "try" => subject().map(|(subject, state)| Self::Try(subject, present(state))),
            "ack" => subject().map(|(subject, state)| Self::Ack(subject, present(state))),
            "have" => subject().map(|(subject, state)| Self::Have(subject, state)),
            "wrong" => Some(Self::Wrong(rest.to_owned())),
            "note" => Some(Self::Note(rest.to_owned())),
            "audited" => Some(Self::Audited),
            _ => None,
        }
    }
}

/// What is known of one subject.
#[derive(Clone, Debug, Default)]
struct Account {
    promised: State,
    /// Asked for since, without an answer.
    open: Vec<State>,
}

/// Everything that was asked for and acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<Subject, Account>,
    found: BTreeMap<Subject, String>,
    wrong: Vec<String>,
    notes: VecDeque<String>,
    acknowledged: u64,
}

impl Ledger {
    /// Takes a line in.
    pub fn note(&mut self, line: Line) {
        match line {
            Line::Try(subject, state) => self.accounts.entry(subject).or_default().open.push(state),
            Line::Ack(subject, promised) => {
                self.acknowledged += 1;
                self.accounts.insert(subject, Account { promised, open: Vec::new() });
            }
            Line::Have(subject, state) => drop(self.found.insert(subject, state)),
            Line::Wrong(what) => self.wrong.push(what),
            Line::Note(what) => {
                self.notes.push_back(what);
                if self.notes.len() > NOTES_MAX {
                    self.notes.pop_front();
                }
            }
            Line::Audited => {}
        }
    }

    /// How many acknowledgements there were.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The last remarks.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }

    /// Compares what an audit has said since the last call with what was promised; answers what differs. What was found is
    /// what counts from now on.
    pub fn settle(&mut self) -> Vec<String> {
        let mut differences = std::mem::take(&mut self.wrong);
        let found = std::mem::take(&mut self.found);
        for subject in found.keys().filter(|subject| !self.accounts.contains_key(subject)) {
            differences.push(format!("{subject} is there and nobody asked for it"));
        }
        for (subject, account) in &self.accounts {
            let state = found.get(subject).cloned();
            if state != account.promised && !account.open.contains(&state) {
                differences.push(format!(
                    "{subject} is {}, but {} was acknowledged{}",
                    said(&state),
                    said(&account.promised),
                    if account.open.is_empty() { "" } else { " and something else asked for" }
                ));
            }
        }
        let settled = |(subject, state)| (subject, Account { promised: Some(state), open: Vec::new() });
        self.accounts = found.into_iter().map(settled).collect();
        differences
    }
}

fn said(state: &State) -> &str {
    state.as_deref().unwrap_or("absent")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        lines.iter().for_each(|line| ledger.note(Line::parse(line).expect("a line")));
        ledger
    }

    #[test]
    fn lines_come_back_as_they_were() {
        let subject = || Subject::new("network", "n1");
        let lines = [
            Line::Try(subject(), Some("nat=true".into())),
            Line::Ack(subject(), None),
            Line::Have(subject(), "nat=false".into()),
            Line::Wrong("a b".into()),
            Line::Note(String::new()),
            Line::Audited,
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
        assert_eq!(Line::parse("ack network"), None);
        assert_eq!(Line::parse("acp-shim: a line of somebody else"), None);
    }

    #[test]
    fn what_was_acknowledged_is_there_and_stays_away() {
        let before =
            ["try network a on", "ack network a on", "try network b on", "ack network b on", "ack network b -"];
        assert_eq!(ledger(&[&before[..], &["have network a on"]].concat()).settle(), Vec::<String>::new());
        let lost = ledger(&before).settle();
        assert_eq!(lost, ["network a is absent, but on was acknowledged"]);
        let back = ledger(&[&before[..], &["have network a on", "have network b on"]].concat()).settle();
        assert_eq!(back, ["network b is on, but absent was acknowledged"]);
    }

    #[test]
    fn what_was_only_asked_for_may_have_happened_or_not() {
        let asked = ["ack network a on", "try network a off"];
        for found in ["have network a on", "have network a off"] {
            assert_eq!(ledger(&[&asked[..], &[found]].concat()).settle(), Vec::<String>::new());
        }
        let mut lost = ledger(&asked);
        assert_eq!(lost.settle().len(), 1, "it cannot be gone");
        assert_eq!(lost.settle().len(), 0, "it is settled");
        assert_eq!(ledger(&["have network c on", "wrong x"]).settle().len(), 2);
    }
}
