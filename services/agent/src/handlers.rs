//! From the wire to the node and back; no decisions.

use std::{
    future::{Future, ready},
    sync::Arc,
};

use acp_base::{Code, Failure};
use acp_io_daemon::{Call, Router};
use acp_wire_api::{
    Empty, Method,
    agent::{self as api, AuthenticateReply},
};

use crate::{authority, cluster, measure, node::Node, open, own, report};

/// Every method of `acp.agent`.
pub(crate) fn router(node: &Arc<Node>) -> Router {
    let mut router = Router::new();
    once::<api::GetStatus, _, _>(&mut router, node, |node, _call| ready(Ok(report::status(&node))));
    once::<api::ListMembers, _, _>(&mut router, node, |node, _call| ready(Ok(report::members(&node))));
    once::<api::Authenticate, _, _>(&mut router, node, |node, call| ready(authenticate(&node, &call.request.key)));
    once::<api::InitCluster, _, _>(&mut router, node, |node, call| {
        cluster::whole(Arc::clone(&node), cluster::init(node, call.request))
    });
    once::<api::PlanJoin, _, _>(&mut router, node, |node, call| cluster::plan(node, call.request));
    once::<api::JoinCluster, _, _>(&mut router, node, |node, call| {
        cluster::whole(Arc::clone(&node), cluster::join(node, call.request))
    });
    once::<api::LeaveCluster, _, _>(&mut router, node, |node, call| {
        cluster::whole(Arc::clone(&node), cluster::leave(node, call.request))
    });
    once::<api::Rejoin, _, _>(&mut router, node, |node, call| {
        cluster::whole(Arc::clone(&node), cluster::rejoin(node, call.request))
    });
    let asking = Arc::clone(node);
    router.stream::<api::RequestJoin, _, _>(move |call, sink| cluster::request(Arc::clone(&asking), call, sink));
    let followed = Arc::clone(node);
    router.stream::<api::WatchNode, _, _>(move |_call, sink| own::follow(Arc::clone(&followed), sink));
    let opening = Arc::clone(node);
    router.upgrade::<api::Open, _, _, _, _>(move |call| open::open(Arc::clone(&opening), call));
    router.upgrade::<api::Measure, _, _, _, _>(|call| async move {
        measure::check(&call.request)?;
        Ok((Empty {}, move |io| measure::run(call.request, io)))
    });
    router
}

fn once<M, H, F>(router: &mut Router, node: &Arc<Node>, handler: H)
where
    M: Method,
    H: Fn(Arc<Node>, Call<M>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
{
    let node = Arc::clone(node);
    router.once::<M, _, _>(move |call| handler(Arc::clone(&node), call));
}

fn authenticate(node: &Node, secret: &str) -> Result<AuthenticateReply, Failure> {
    let alone = || Failure::new(Code::PermissionDenied, "this node is in no cluster, and knows no keys");
    let member = node.member().ok_or_else(alone)?;
    let key = authority::find(&member.directory(), secret)?;
    Ok(AuthenticateReply { principal: authority::of_key(&key, None) })
}
