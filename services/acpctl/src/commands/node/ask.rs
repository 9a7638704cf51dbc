//! `acpctl node join` without a token: the node asks, and an operator of the cluster answers.

use std::time::Duration;

use acp_base::{Code, Failure};
use acp_client::Replies;
use acp_wire_api::{
    Empty,
    agent::{GetStatus, Joined, RequestJoin, RequestJoinReply, RequestJoinRequest},
    hub::JoinOutcome,
};
use tokio::time::interval;

use super::join::is_member;
use crate::{
    commands::cluster::{AGENT, entered, root_key_to_enter_with},
    error,
    progress::{Progress, TICK},
    session::Session,
};

/// The exit status of asking for what is so already.
const ALREADY: u8 = Code::AlreadyExists.exit_status();

pub(super) async fn run(session: &mut Session, request: RequestJoinRequest) -> Result<u8, Failure> {
    let before = session.call::<GetStatus>(AGENT, Empty {}).await?;
    let request = RequestJoinRequest { root_key_hash: root_key_to_enter_with(session, &before)?, ..request };
    let (member, wait_ms) = (request.member.clone(), request.wait_ms);
    let mut replies = session.service(AGENT)?.stream::<RequestJoin>(request).await?;
    let last = answer(&mut replies, wait_ms).await?;
    let joined = conclusion(&last, &member, wait_ms)?;
    let status = entered(session, &before, joined, &is_member(joined))?;
    Ok(if last.outcome == JoinOutcome::AlreadyJoined { ALREADY } else { status })
}

/// Waits for what the operator says, and shows meanwhile what he has to compare.
async fn answer(replies: &mut Replies<RequestJoin>, wait_ms: u64) -> Result<RequestJoinReply, Failure> {
    let mut ticks = interval(TICK);
    let progress = Progress::new();
    let mut is_told = false;
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            _instant = ticks.tick() => {
                progress.tick();
                continue;
            }
        };
        let reply =
            reply.unwrap_or_else(|| Err(Failure::unavailable("the agent stopped waiting without an answer")))?;
        if reply.outcome != JoinOutcome::Waiting {
            return Ok(reply);
        }
        if !is_told {
            error::say(&what_to_compare(&reply));
            progress.say(&format!("waiting up to {:?} for an operator", Duration::from_millis(wait_ms)));
            is_told = true;
        }
    }
}

/// The authority's fingerprint stands in every token of its cluster, this node's in the list of requests.
fn what_to_compare(reply: &RequestJoinReply) -> String {
    let id = reply.request.map_or_else(|| "ID".to_owned(), |id| id.to_string());
    let RequestJoinReply { authority, fingerprint, .. } = reply;
    format!(
        "the cluster's authority has the fingerprint {authority}: its tokens begin with acpt.{authority}\nthis node's key has the \
         fingerprint {fingerprint}: acpctl node requests there shows the same\nif both are so, an operator there lets it in: \
         acpctl node approve {id}"
    )
}

/// The membership, or why there is none: each outcome has its own exit status.
fn conclusion<'a>(reply: &'a RequestJoinReply, member: &str, wait_ms: u64) -> Result<&'a Joined, Failure> {
    let failure = |code, text: String| Err(Failure::new(code, text));
    match (reply.outcome, &reply.joined) {
        (JoinOutcome::Admitted | JoinOutcome::AlreadyJoined, Some(joined)) => Ok(joined),
        (JoinOutcome::Rejected, _) => {
            failure(Code::PermissionDenied, "an operator of the cluster has turned this node away".to_owned())
        }
        (JoinOutcome::Unanswered | JoinOutcome::Waiting, _) => {
            let waited = Duration::from_millis(wait_ms);
            let text = format!(
                "nobody has answered within {waited:?}: tell an operator there, and ask again; nothing was changed"
            );
            failure(Code::DeadlineExceeded, text)
        }
        (JoinOutcome::Disabled, _) => {
            let text = format!(
                "the cluster at {member} takes no requests: join with a token (acpctl node token create there)"
            );
            failure(Code::FailedPrecondition, text)
        }
        (JoinOutcome::Admitted | JoinOutcome::AlreadyJoined, None) => {
            Err(Failure::internal("the agent says that the node is a member, and not of which cluster"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_status_of_its_own() {
        let status = |outcome| {
            let reply = RequestJoinReply {
                outcome,
                request: None,
                authority: "aa".into(),
                fingerprint: "bb".into(),
                joined: None,
            };
            conclusion(&reply, "10.0.0.1", 1_000).expect_err("no membership").code.exit_status()
        };
        let seen = [JoinOutcome::Rejected, JoinOutcome::Unanswered, JoinOutcome::Disabled].map(status);
        assert_eq!((seen, ALREADY), ([77, 6, 4], 3));
    }
}
