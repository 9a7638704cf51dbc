//! The way through the agent: what follows its answer is a conversation with the service.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use acp_base::{Code, Failure, Retry};
use acp_wire_api::{
    Empty,
    agent::{GetStatus, Open, OpenRequest},
    routing::placement,
};

use crate::{
    Conversation, ServiceClient,
    conversation::CallError,
    key_file,
    pause::Pause,
    route::{Key, Secret},
    service::Begun,
};

/// The agent, which knows the other nodes.
const AGENT: &str = "agent";

/// The pauses before the agent is asked again for a way that it did not find. It waits for links itself; these are for what
/// it answers at once, like a service that is starting.
const OPEN_PAUSE_MIN: Duration = Duration::from_millis(20);
const OPEN_PAUSE_MAX: Duration = Duration::from_millis(500);

/// The least time that another attempt is worth: with less, the agent could only say that it had none.
const ATTEMPT_MIN: Duration = Duration::from_millis(250);

impl ServiceClient {
    /// Asks the agent until there is a way, the deadline is near, or asking again does not help. Nothing is executed by it.
    pub(crate) async fn open(&self, begun: Begun) -> Result<Conversation, Failure> {
        if placement(&self.route.service).is_none() {
            let text = format!("{} can be called on its own node only", self.route.peer(None));
            return Err(Failure::invalid(text));
        }
        let mut pause = Pause::new(OPEN_PAUSE_MIN, OPEN_PAUSE_MAX);
        loop {
            let failure = match self.try_open(begun).await {
                Ok(conversation) => return Ok(conversation),
                Err(failure) => failure,
            };
            let may_pass = failure.code == Code::Unavailable && failure.retry == Retry::Later;
            if !may_pass || !pause.until(begun.deadline - ATTEMPT_MIN).await {
                return Err(failure);
            }
        }
    }

    async fn try_open(&self, begun: Begun) -> Result<Conversation, Failure> {
        match &self.route.key {
            None => self.open_with(None, begun).await,
            Some(Key::Always(secret)) => self.open_with(Some(secret), begun).await,
            Some(Key::RootElsewhere) if self.route.node.is_some() => {
                let path = self.root_key_path(begun).await?;
                if !self.route.needs_agent(self.client.shared.here()) {
                    return self.connect_here(begun).await;
                }
                self.open_with(root_key(path)?.as_ref(), begun).await
            }
            Some(Key::RootElsewhere) => {
                // Whether a service that moves is here is known once the way was asked for.
                let found = self.open_with(None, begun).await?;
                if !found.is_carried() {
                    return Ok(found);
                }
                match root_key(self.root_key_path(begun).await?)? {
                    Some(secret) => self.open_with(Some(&secret), begun).await,
                    None => Ok(found),
                }
            }
        }
    }

    async fn open_with(&self, key: Option<&Secret>, begun: Begun) -> Result<Conversation, Failure> {
        let mut conversation = self.connect_agent(begun).await?;
        let answer = conversation.exchange::<Open>(&self.request(key), &[], self.context(begun)).await;
        let (reply, _fds) = answer.map_err(CallError::into_failure::<Open>)?;
        if !reply.here {
            return Ok(conversation.carried(self.route.peer(Some(&reply.node)), reply.hops));
        }
        // That is remembered of the node, not of a service that can move.
        if let Some(node) = self.route.node.as_ref().filter(|node| node.as_str() == reply.node) {
            self.client.shared.set_here(node.clone());
        }
        self.connect_here(begun).await
    }

    /// Where root's key lies, if there is one, as the agent says, which says this node's name, too.
    async fn root_key_path(&self, begun: Begun) -> Result<&Path, Failure> {
        let ask = async || {
            let mut conversation = self.connect_agent(begun).await?;
            let answer = conversation.exchange::<GetStatus>(&Empty {}, &[], self.context(begun)).await;
            let (status, _fds) = answer.map_err(CallError::into_failure::<GetStatus>)?;
            self.client.shared.set_here(status.name);
            Ok(PathBuf::from(status.root_key_path))
        };
        self.client.shared.root_key_path.get_or_try_init(ask).await.map(PathBuf::as_path)
    }

    async fn connect_agent(&self, begun: Begun) -> Result<Conversation, Failure> {
        let path = self.client.run_dir().join(AGENT).with_extension("sock");
        Conversation::connect(&path, AGENT, begun.deadline).await
    }

    async fn connect_here(&self, begun: Begun) -> Result<Conversation, Failure> {
        Conversation::connect(&self.socket, &self.route.peer(None), begun.deadline).await
    }

    fn request(&self, key: Option<&Secret>) -> OpenRequest {
        OpenRequest {
            service: self.route.service.clone(),
            instance: self.route.instance.clone(),
            node: self.route.node.clone(),
            key: key.map(|secret| secret.expose().to_owned()),
            bulk: self.route.bulk,
        }
    }
}

/// The key of this node's root, if there is one and the caller is root.
fn root_key(path: &Path) -> Result<Option<Secret>, Failure> {
    match key_file::read(path) {
        Ok(secret) => Ok(secret.as_deref().map(Secret::new)),
        // Without it the rights of the node have to do.
        Err(failure) if failure.code == Code::PermissionDenied => Ok(None),
        Err(failure) => Err(failure),
    }
}
