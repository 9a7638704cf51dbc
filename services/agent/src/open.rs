//! `Open`: from a caller's connection to the service that it wants, wherever that is.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use acp_base::{Code, Failure};
use acp_io_client::Upgraded;
use acp_io_daemon::{Call, Caller};
use acp_io_link::{Class, Conversation, open_bulk};
use acp_wire_api::{
    agent::{Hop, Open, OpenReply, OpenRequest},
    hub,
    routing::{self, Placement},
};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_rustls::client::TlsStream;

use crate::{
    authority::{self, Ground},
    carry::carry,
    context::{Context, hop},
    dial::{self, Unreached},
    hub_session,
    limits::{ANSWER_MARGIN, LOOK_PAUSE},
    member::Member,
    node::Node,
    route::{self, Limits, Opened},
    socket,
};

/// The other end of a caller's connection.
#[derive(Debug)]
enum End {
    /// The caller goes to the socket itself.
    Here,
    Socket(Upgraded),
    Conversation(Conversation),
    Bulk(Box<TlsStream<TcpStream>>),
}

/// What was opened, before it is carried.
#[derive(Debug)]
struct Way {
    end: End,
    node: String,
    hops: Vec<Hop>,
    ground: Ground,
}

type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens what a caller asks for. What it answers beside the reply carries the caller's connection.
pub(crate) async fn open(
    node: Arc<Node>,
    call: Call<Open>,
) -> Result<(OpenReply, impl FnOnce(Upgraded) -> Carrying + Send), Failure> {
    let limit = call.context.deadline.saturating_duration_since(tokio::time::Instant::now());
    let asked = Asked {
        deadline: Instant::now() + limit.saturating_sub(ANSWER_MARGIN),
        id: call.context.id,
        request: call.request,
    };
    admit(&call.caller, &asked.request)?;
    socket::check(&asked.request.service, asked.request.instance.as_deref())?;
    let member = node.member();
    let way = match &member {
        Some(member) => find(&node, member, &asked).await?,
        None => alone(&node, &asked.request)?,
    };
    let reply = OpenReply { node: way.node, here: matches!(way.end, End::Here), hops: way.hops };
    let (end, ground) = (way.end, way.ground);
    Ok((reply, move |io: Upgraded| -> Carrying { Box::pin(go_on(node, member, end, ground, io)) }))
}

/// An opening with what is left of its time.
#[derive(Debug)]
struct Asked {
    request: OpenRequest,
    id: String,
    deadline: Instant,
}

impl Asked {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn context(&self, to: &hub::Member, relayed: bool) -> Context {
        Context { node: Some(to.uid), key: self.request.key.clone(), id: self.id.clone(), relayed, newcomer: false }
    }
}

/// Whoever has no key uses the node's own few rights, which root and our daemons may.
fn admit(caller: &Caller, request: &OpenRequest) -> Result<(), Failure> {
    let text = if caller.principal().is_some() {
        "conversations are opened by callers of this node, not through another one"
    } else if request.key.is_none() && caller.uid != 0 && caller.daemon().is_none() {
        "without a key only root and this node's daemons reach services through the agent: use --key-file"
    } else {
        return Ok(());
    };
    Err(Failure::new(Code::PermissionDenied, text))
}

/// The way on a node that is in no cluster.
fn alone(node: &Node, request: &OpenRequest) -> Result<Way, Failure> {
    if let Some(name) = request.node.as_ref().filter(|name| **name != node.context.node) {
        let text = format!("there is no node {name}: this one, {}, is in no cluster", node.context.node);
        return Err(Failure::not_found(text));
    }
    if request.key.is_some() {
        return Err(Failure::new(Code::PermissionDenied, "this node is in no cluster, and knows no keys"));
    }
    Ok(here(node, &request.service))
}

fn here(node: &Node, service: &str) -> Way {
    let name = node.name().to_string();
    let hops = vec![hop(&name, service, "socket", Instant::now())];
    Way { end: End::Here, node: name, hops, ground: Ground::default() }
}

async fn find(node: &Node, member: &Arc<Member>, asked: &Asked) -> Result<Way, Failure> {
    let request = &asked.request;
    let is_single = routing::placement(&request.service) == Some(Placement::Single);
    match &request.node {
        None if is_single => wait_for_single(node, member, asked).await,
        None => locally(node, member, asked).await,
        Some(name) => match member.named(name) {
            Some(to) if to.uid == member.me => locally(node, member, asked).await,
            Some(to) => reach(node, member, &to, asked, asked.left()).await,
            // A node that was taken out is still itself.
            None if *name == node.context.node && member.of(member.me).is_none() => locally(node, member, asked).await,
            None => Err(Failure::not_found(format!("there is no node {name} in cluster {}", member.cluster.name))),
        },
    }
}

/// The control plane: the first controller that answers, and it is waited for.
async fn wait_for_single(node: &Node, member: &Arc<Member>, asked: &Asked) -> Result<Way, Failure> {
    loop {
        let mut failure = hub_session::none();
        // A hub here that is not heard may have no log yet, or none any more.
        let (own, others): (Vec<_>, Vec<_>) = member.controllers().into_iter().partition(|to| to.uid == member.me);
        let is_own = !own.is_empty();
        let is_well = member.controllers.is_heard(member.me) && !member.controllers.is_shunned(member.me);
        if is_own && (others.is_empty() || is_well) {
            return locally(node, member, asked).await;
        }
        for to in others {
            let limit = asked.left().min(hub_session::limit(member));
            if limit.is_zero() {
                break;
            }
            match reach_within(node, member, &to, asked, limit).await {
                Err(error) if error.code == Code::Unavailable => failure = error,
                found => {
                    member.controllers.came(to.uid);
                    return found;
                }
            }
            member.controllers.failed(to.uid);
        }
        if is_own {
            return locally(node, member, asked).await;
        }
        if asked.left() <= LOOK_PAUSE {
            return Err(failure.context(format!("{} did not come within the call's deadline", asked.request.service)));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// To a node that may not take longer than this, whatever it is that takes so long.
async fn reach_within(
    node: &Node,
    member: &Arc<Member>,
    to: &hub::Member,
    asked: &Asked,
    limit: Duration,
) -> Result<Way, Failure> {
    let late = |_late| {
        let text = format!("{} at {} did not open a conversation within {} ms", to.name, to.address, limit.as_millis());
        Err(Failure::unavailable(text))
    };
    tokio::time::timeout(limit, reach(node, member, to, asked, limit)).await.unwrap_or_else(late)
}

/// On this node: the caller goes itself, except for a key's rights.
async fn locally(node: &Node, member: &Member, asked: &Asked) -> Result<Way, Failure> {
    let Some(secret) = &asked.request.key else { return Ok(here(node, &asked.request.service)) };
    let key = authority::find(&member.directory(), secret)?;
    let opening = Context::default().opening(&asked.request.service, asked.request.instance.as_deref());
    let started = Instant::now();
    let speaker = socket::connect_for(node, &opening, authority::of_key(&key, None), &asked.id).await?;
    let name = node.name().to_string();
    let hops = vec![hop(&name, &asked.request.service, "socket", started)];
    Ok(Way { end: End::Socket(speaker.into_raw()), node: name, hops, ground: Ground { peer: None, key: Some(key) } })
}

/// On another node: over its link, else over one that it has opened.
async fn reach(
    node: &Node,
    member: &Arc<Member>,
    to: &hub::Member,
    asked: &Asked,
    time: Duration,
) -> Result<Way, Failure> {
    let request = &asked.request;
    let opening = asked.context(to, false).opening(&request.service, request.instance.as_deref());
    let ground = Ground { peer: Some(to.uid), key: None };
    if request.bulk {
        let started = Instant::now();
        let mut stream = dial::stream(member, to, Class::Bulk).await?;
        let opened = open_bulk(&mut stream, &opening, time).await;
        opened.map_err(|error| Unreached::of(error, to).failure)?;
        let hops = vec![hop(&to.name, "agent", "dialled", started)];
        return Ok(Way { end: End::Bulk(Box::new(stream)), node: to.name.to_string(), hops, ground });
    }
    // What controllers say to each other, and nodes to them, is held up by no call.
    let class = if request.service == "hub" && request.key.is_none() { Class::Control } else { Class::Calls };
    let has_other_way = member.is_controller() && member.peers.reverse(to.uid).is_some()
        || request.key.is_some() && member.controllers().iter().any(|hub| hub.uid != to.uid && hub.uid != member.me);
    let limits = Limits { time, has_other_way };
    let opened = match route::directly(node, member, to, class, &opening, limits).await {
        Ok(opened) => opened,
        Err(unreached) if unreached.is_away => go_round(node, member, to, asked, unreached).await?,
        Err(unreached) => return Err(unreached.failure),
    };
    let Opened { conversation, hops } = opened;
    Ok(Way { end: End::Conversation(conversation), node: to.name.to_string(), hops, ground })
}

/// To a node that cannot be dialled: over the link that it has opened to this controller, or to another one.
async fn go_round(
    node: &Node,
    member: &Arc<Member>,
    to: &hub::Member,
    asked: &Asked,
    unreached: Unreached,
) -> Result<Opened, Failure> {
    let request = &asked.request;
    if member.is_controller() {
        let opening = asked.context(to, false).opening(&request.service, request.instance.as_deref());
        if let Some(opened) = route::backwards(member, to, &opening, asked.left()).await {
            return opened;
        }
    }
    let others = member.controllers().into_iter().filter(|other| other.uid != to.uid && other.uid != member.me);
    let others: Vec<hub::Member> = others.collect();
    let Some(first) = others.first() else { return Err(unreached.failure) };
    if request.key.is_none() {
        let text = format!("{}; through {} it is reached with a key alone", unreached.failure.message, first.name);
        return Err(Failure { message: text, ..unreached.failure });
    }
    let opening = asked.context(to, true).opening(&request.service, request.instance.as_deref());
    let mut failure = unreached.failure;
    for through in others {
        let limits = Limits { time: asked.left().min(hub_session::limit(member)), has_other_way: false };
        let opened = route::directly(node, member, &through, Class::Calls, &opening, limits).await;
        let refused = match opened {
            Ok(opened) => return Ok(opened),
            Err(refused) => refused,
        };
        let text = format!("{}; nor through {}: {}", failure.message, through.name, refused.failure.message);
        failure = Failure { message: text, ..refused.failure };
        if failure.code != Code::Unavailable || asked.left().is_zero() {
            break;
        }
    }
    Err(failure)
}

/// Carries the caller's connection in a task of its own: with the drain it goes on as long as an answer is waited for.
async fn go_on(node: Arc<Node>, member: Option<Arc<Member>>, end: End, ground: Ground, io: Upgraded) {
    let Some(member) = member else { return };
    let (over, is_over) = oneshot::channel::<()>();
    let tasks = node.context.tasks.clone();
    tasks.spawn("conversation", async move {
        let _over = over;
        let drain = &node.context.drain;
        match end {
            End::Here => {}
            End::Socket(socket) => carry(io, socket, &member, &ground, drain).await,
            End::Conversation(conversation) => carry(io, conversation, &member, &ground, drain).await,
            End::Bulk(stream) => carry(io, stream, &member, &ground, drain).await,
        }
    });
    // The connection counts among those of its caller until then.
    drop(is_over.await);
}
