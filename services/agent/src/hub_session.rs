//! The control plane, as this node hears it: a watch on the directory at one of the controllers that is always open. As long as
//! it is, the node is online for the others.
//!
//! **Invariant**: a session that stands is given up for another one only once that has spoken.

use std::{sync::Arc, time::Duration};

use acp_base::Failure;
use acp_io_link::Class;
use acp_wire_api::hub::{self, WatchDirectory, WatchDirectoryReply, WatchDirectoryRequest};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    adopt::{AdoptError, Adopted},
    context::Context,
    dial::{self, Unreached},
    keep_alive,
    limits::{BETTER_PERIOD, CONTROLLER_LIMIT, HUB_LIMIT, HUB_SILENCE_MAX, PAUSE_MIN},
    member::Member,
    node::Node,
    readdress,
    route::{self, Limits},
    socket,
    speaker::Speaker,
};

/// Follows the directory until the membership ends.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>) {
    let mut pause = PAUSE_MIN;
    loop {
        match Session::find(&node, &member).await {
            Ok(session) => {
                pause = PAUSE_MIN;
                readdress::run(&node, &member, &session.with).await;
                session.keep(&node, &member).await;
            }
            Err(failure) => {
                tracing::debug!(reason = %failure, "the control plane is not heard");
                dial::pause(pause).await;
                pause = dial::longer(pause);
            }
        }
    }
}

/// A watch at one controller.
struct Session {
    with: hub::Member,
    speaker: Speaker,
    /// When it counts as silent.
    until: Instant,
    /// Why it can change nothing; empty when it can.
    degraded: String,
}

impl Session {
    /// A session with the first controller that speaks.
    async fn find(node: &Node, member: &Arc<Member>) -> Result<Self, Failure> {
        let mut failure = none();
        for to in member.controllers() {
            match Self::open(node, member, &to).await {
                Ok(session) => return Ok(session),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A session with this controller, once it has spoken.
    async fn open(node: &Node, member: &Arc<Member>, with: &hub::Member) -> Result<Self, Failure> {
        let opening = async {
            let mut speaker = speak_to(node, member, with).await?;
            let directory = member.directory();
            let request = WatchDirectoryRequest { known: Some(directory.revision), epoch: directory.epoch.clone() };
            speaker.ask::<WatchDirectory>(&request).await?;
            let mut session =
                Self { with: with.clone(), speaker, until: Instant::now() + HUB_SILENCE_MAX, degraded: String::new() };
            session.hear(node, member).await?;
            Ok(session)
        };
        let opened = timeout(HUB_SILENCE_MAX, opening).await.unwrap_or_else(|_late| Err(silent(with)));
        match &opened {
            Ok(session) if session.degraded.is_empty() => {
                tracing::info!(controller = %with.name, "the control plane is heard");
                member.controllers.came(with.uid);
                member.controllers.hears(Some(with.uid));
            }
            Ok(_) | Err(_) => member.controllers.failed(with.uid),
        }
        opened
    }

    /// Follows the directory, at a better controller when there is one, until nobody is heard.
    async fn keep(mut self, node: &Node, member: &Arc<Member>) {
        let mut alive = Box::pin(keep_alive::run(node, member, self.with.clone()));
        loop {
            let failure = tokio::select! {
                failure = self.follow(node, member) => failure,
                never = &mut alive => match never {},
                () = tokio::time::sleep(BETTER_PERIOD) => {
                    if let Some(better) = self.better(node, member).await {
                        self = better;
                        alive = Box::pin(keep_alive::run(node, member, self.with.clone()));
                    }
                    continue;
                }
            };
            tracing::warn!(controller = %self.with.name, reason = %failure, "a controller is not heard any more");
            member.controllers.hears(None);
            member.controllers.failed(self.with.uid);
            // A link that stands and carries nothing would only be in the way.
            member.pool.forget(self.with.uid, Class::Control);
            return;
        }
    }

    /// Hears the controller until it does not speak any more; answers why.
    async fn follow(&mut self, node: &Node, member: &Arc<Member>) -> Failure {
        loop {
            if let Err(failure) = self.hear(node, member).await {
                return failure;
            }
            if !member.of(self.with.uid).is_some_and(|with| with.controller) && !member.is_removed() {
                return Failure::unavailable(format!("{} is no controller any more", self.with.name));
            }
        }
    }

    /// Takes what the controller says next.
    async fn hear(&mut self, node: &Node, member: &Arc<Member>) -> Result<(), Failure> {
        let next = timeout_at(self.until, self.speaker.next::<WatchDirectory>());
        let reply = next.await.map_err(|_late| silent(&self.with))??;
        let WatchDirectoryReply { directory, degraded } = reply;
        if let Some(directory) = directory {
            take(node, member, &self.with, directory).await?;
        }
        // A hub that can change nothing cannot know what others change: what it says confirms nothing.
        if degraded.is_empty() {
            member.hear();
        }
        self.until = Instant::now() + HUB_SILENCE_MAX;
        if degraded != self.degraded {
            tracing::info!(controller = %self.with.name, degraded, "what the control plane can do has changed");
        }
        if !degraded.is_empty() {
            member.controllers.failed(self.with.uid);
        } else if !self.degraded.is_empty() {
            member.controllers.came(self.with.uid);
        }
        self.degraded = degraded;
        Ok(())
    }

    /// A session with the controller that this node belongs to, if that is another one and can do more.
    async fn better(&self, node: &Node, member: &Arc<Member>) -> Option<Self> {
        let first = member.controllers().into_iter().next().filter(|first| first.uid != self.with.uid)?;
        if member.controllers.is_shunned(first.uid) {
            return None;
        }
        let better = Self::open(node, member, &first).await.ok()?;
        better.degraded.is_empty().then_some(better)
    }
}

/// Goes by a directory that a controller has sent. One of another cluster or epoch ends the session with it.
async fn take(node: &Node, member: &Arc<Member>, from: &hub::Member, directory: hub::Directory) -> Result<(), Failure> {
    let revision = directory.revision;
    let trouble = match member.adopt(directory).await {
        Ok(Adopted::Older) => {
            tracing::debug!(controller = %from.name, revision, "a controller's directory is an older one");
            return Ok(());
        }
        Ok(Adopted::Newer | Adopted::Known) => None,
        Err(error @ AdoptError::Keep(_)) => Some(crate::sentence(&error)),
        Err(error @ (AdoptError::OtherCluster(_) | AdoptError::OtherEpoch { .. })) => {
            let text = format!("the controller {} is not heeded: {error}", from.name);
            tracing::error!(revision, text, "a directory was refused");
            node.troubles.set("directory", Some(text.clone()));
            return Err(Failure::precondition(text));
        }
    };
    if let Some(trouble) = &trouble {
        tracing::error!(trouble, "the directory cannot be kept");
    }
    node.troubles.set("directory", trouble);
    Ok(())
}

fn silent(with: &hub::Member) -> Failure {
    Failure::unavailable(format!("the hub on {} was silent for {} ms", with.name, HUB_SILENCE_MAX.as_millis()))
}

/// What is said where the directory names no controller.
pub(crate) fn none() -> Failure {
    Failure::unavailable("no member of the cluster runs the control plane")
}

/// A conversation of this agent's own with the first hub that takes it.
pub(crate) async fn speak(node: &Node, member: &Arc<Member>) -> Result<Speaker, Failure> {
    let mut failure = none();
    for to in member.controllers() {
        let speaking = timeout(HUB_LIMIT.min(limit(member)), speak_to(node, member, &to));
        match speaking.await.unwrap_or_else(|_late| Err(silent(&to))) {
            Ok(speaker) => return Ok(speaker),
            Err(error) => failure = error,
        }
        member.controllers.failed(to.uid);
    }
    Err(failure)
}

/// How long one controller may take: the only one is given more time.
pub(crate) fn limit(member: &Member) -> Duration {
    if member.directory().nodes.iter().filter(|node| node.controller).count() > 1 {
        CONTROLLER_LIMIT
    } else {
        Duration::MAX
    }
}

/// A conversation of this agent's own with this hub: its socket here, or the control link to the node that has it.
pub(crate) async fn speak_to(node: &Node, member: &Arc<Member>, to: &hub::Member) -> Result<Speaker, Failure> {
    if to.uid == member.me {
        return socket::connect(node, "hub", None).await;
    }
    let context = Context { node: Some(to.uid), ..Context::default() };
    let limits = Limits { time: HUB_LIMIT, has_other_way: false };
    let opening = context.opening("hub", None);
    let opened = route::directly(node, member, to, Class::Control, &opening, limits).await;
    let opened = opened.map_err(|unreached: Unreached| {
        if unreached.is_removed {
            member.turned_away();
        }
        unreached.failure
    })?;
    Speaker::over(opened.conversation, &format!("the hub on {}", to.name), &node.context.tasks)
}
