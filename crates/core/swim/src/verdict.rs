//! What the hub concludes about a node, as a pure function of what it knows.
//!
//! Not here: when what is known changes ([`Verdicts`](crate::Verdicts)), and what follows from a verdict. Whether a system may be
//! started elsewhere is for leases alone; a verdict only says whether it is worth asking.

use std::{fmt, time::Duration};

use acp_base::Uid;

/// The conclusion about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a session with the hub.
    Online,
    /// It has a session and answers, but its ring does not reach it.
    Isolated,
    /// It lives, or its death is not proven, and the hub has no session with it.
    Unmanaged,
    /// It has neither a session nor contact with its ring, and a confirmation has failed.
    Down,
    /// The hub cannot tell: it has no quorum, or nobody who would see the node answers.
    Unknown {
        /// The last conclusion; none: there never was one.
        last: Option<Standing>,
        /// How old it is; without one, for how long there was none.
        age: Duration,
    },
}

/// A conclusion that can be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// [`Verdict::Online`].
    Online,
    /// [`Verdict::Isolated`].
    Isolated,
    /// [`Verdict::Unmanaged`].
    Unmanaged,
    /// [`Verdict::Down`].
    Down,
}

/// The session between the node and the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// There is one, and something came over it lately.
    Up,
    /// There is one, but nothing has come for [`MUTE`](crate::timing::MUTE).
    Mute,
    /// There is none.
    Down,
}

/// What the other members of the node's ring say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swim {
    /// It has no other members: nobody could say anything.
    Alone,
    /// Nobody of the ring says anything, or none of those who do has a session.
    Unheard,
    /// Nobody says otherwise.
    Alive,
    /// Nobody holds it for dead; these suspect it.
    Suspect(Vec<Uid>),
    /// Fewer hold it for dead than for alive: these.
    Accused(Vec<Uid>),
    /// At least as many hold it for dead as for alive: these.
    Down(Vec<Uid>),
}

/// The hub's own question to the node, over the agent link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Nothing was asked.
    None,
    /// It is on its way for the first time.
    Pending,
    /// The node has answered, or something came over its session since.
    Answered,
    /// It has not.
    Failed,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its session.
    pub session: Session,
    /// Since when that is so.
    pub session_for: Duration,
    /// What its ring says.
    pub swim: Swim,
    /// Since when that is so.
    pub swim_for: Duration,
    /// The hub's own question.
    pub confirmation: Confirmation,
    /// Whether this hub leads a majority.
    pub quorum: bool,
    /// The conclusion so far.
    pub last: Option<Standing>,
    /// How long ago it was last confirmed; without one, for how long there was none.
    pub age: Duration,
}

/// Decides.
///
/// | quorum | session | ring | confirmation | verdict |
/// |---|---|---|---|---|
/// | no | | | | unknown, with the last one and its age |
/// | yes | up, mute | not down | | online |
/// | yes | up, mute | down | answered | isolated |
/// | yes | mute | down | failed | **down** |
/// | yes | up, mute | down | otherwise | online |
/// | yes | down | any | answered | unmanaged |
/// | yes | down | down, or alone | failed | **down** |
/// | yes | down | unheard | otherwise | unknown, with the last one and its age |
/// | yes | down | otherwise | otherwise | unmanaged |
pub fn judge(facts: &Facts) -> Verdict {
    if !facts.quorum {
        return unknown(facts);
    }
    let is_down = matches!(facts.swim, Swim::Down(_));
    match (facts.session, facts.confirmation) {
        (Session::Mute, Confirmation::Failed) if is_down => Verdict::Down,
        (Session::Up | Session::Mute, Confirmation::Answered) if is_down => Verdict::Isolated,
        (Session::Up | Session::Mute, _) => Verdict::Online,
        (Session::Down, Confirmation::Answered) => Verdict::Unmanaged,
        (Session::Down, Confirmation::Failed) if is_down || facts.swim == Swim::Alone => Verdict::Down,
        (Session::Down, _) if facts.swim == Swim::Unheard => unknown(facts),
        (Session::Down, _) => Verdict::Unmanaged,
    }
}

const fn unknown(facts: &Facts) -> Verdict {
    Verdict::Unknown { last: facts.last, age: facts.age }
}

/// Whether the answer to a confirmation could change the verdict.
pub(crate) const fn wants_confirmation(facts: &Facts) -> bool {
    match facts.swim {
        // At the first word of a death: the question is on its way while the news spreads.
        Swim::Accused(_) | Swim::Down(_) => facts.quorum,
        // Unheard: an answer makes it unmanaged.
        Swim::Alone | Swim::Unheard => facts.quorum && matches!(facts.session, Session::Down),
        Swim::Alive | Swim::Suspect(_) => false,
    }
}

impl Verdict {
    /// What can be remembered of it.
    pub const fn standing(&self) -> Option<Standing> {
        match self {
            Self::Online => Some(Standing::Online),
            Self::Isolated => Some(Standing::Isolated),
            Self::Unmanaged => Some(Standing::Unmanaged),
            Self::Down => Some(Standing::Down),
            Self::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Isolated => "isolated",
            Self::Unmanaged => "unmanaged",
            Self::Down => "down",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.standing()) {
            (_, Some(standing)) => standing.fmt(f),
            (Self::Unknown { last: Some(last), age }, None) => write!(f, "unknown, {last} {} s ago", age.as_secs()),
            _ => f.write_str("unknown"),
        }
    }
}

/// The evidence: a sentence, with nodes by their ids.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|node| node.to_string())
    }
}

impl Facts {
    /// The evidence: a sentence for `acpctl node show` and for the event, with nodes as they are called.
    pub fn sentence(&self, called: impl Fn(Uid) -> String) -> String {
        let mut sentence = String::new();
        // Writing to a string does not fail.
        self.write(&mut sentence, &called).unwrap_or_default();
        sentence
    }

    fn write(&self, f: &mut dyn fmt::Write, called: &dyn Fn(Uid) -> String) -> fmt::Result {
        if !self.quorum {
            f.write_str("no quorum; ")?;
        }
        let names = |nodes: &[Uid]| first_three(nodes, called);
        let session = match self.session {
            Session::Up => "session up",
            Session::Mute => "session up but silent",
            Session::Down => "no session",
        };
        write!(f, "{session} for {} ms; ", self.session_for.as_millis())?;
        match &self.swim {
            Swim::Alone => f.write_str("alone in its ring")?,
            Swim::Unheard => f.write_str("nobody of its ring is heard")?,
            Swim::Alive => f.write_str("alive in its ring")?,
            Swim::Suspect(by) => write!(f, "suspected by {}", names(by))?,
            Swim::Accused(by) => write!(f, "down say only {}", names(by))?,
            Swim::Down(by) => write!(f, "down say {}", names(by))?,
        }
        write!(f, " for {} ms", self.swim_for.as_millis())?;
        f.write_str(match self.confirmation {
            Confirmation::None => "",
            Confirmation::Pending => "; confirmation asked",
            Confirmation::Answered => "; confirmation answered",
            Confirmation::Failed => "; confirmation failed",
        })
    }
}

/// The first three of a list and how many others.
fn first_three(nodes: &[Uid], called: &dyn Fn(Uid) -> String) -> String {
    let (shown, others) = nodes.split_at(nodes.len().min(3));
    let names: Vec<String> = shown.iter().map(|node| called(*node)).collect();
    let names = names.join(", ");
    if others.is_empty() { names } else { format!("{names} and {} others", others.len()) }
}
