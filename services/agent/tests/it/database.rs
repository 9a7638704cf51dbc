//! A cluster service for the tests: it says which node this is, has systems, and tells what it was asked to do.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Failure, Uid};
use acp_io_daemon::{Call, Context, Router, new_uid};
use acp_wire_api::cluster::{Enter, EnterReply, EnterRequest, GetStatus, List, ListReply, Part, Status};
use acp_wire_model::{Kind, Object};

/// What it knows and was asked.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) node_uid: Uid,
    pub(crate) systems: Vec<&'static str>,
    /// Every request to enter that was taken.
    pub(crate) entered: Vec<EnterRequest>,
    /// How often it has gone on alone.
    pub(crate) parted: usize,
    /// What it answers whoever wants it to enter.
    pub(crate) refusal: Option<Failure>,
}

/// The cluster service of one host.
#[derive(Clone, Debug)]
pub(crate) struct Database(Arc<Mutex<State>>);

impl Database {
    /// At `<directory>/cluster.sock`.
    pub(crate) fn start(directory: &Path) -> Self {
        let state = State { node_uid: new_uid(), systems: vec![], entered: vec![], parted: 0, refusal: None };
        let database = Self(Arc::new(Mutex::new(state)));
        let context = Context::for_test("cluster", directory, vec![]);
        context.serve(database.router()).expect("served");
        database
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(&self) -> Router {
        let mut router = Router::new();
        let database = self.clone();
        router.once::<GetStatus, _, _>(move |_call| std::future::ready(Ok(database.status())));
        let database = self.clone();
        router.stream::<List, _, _>(move |call, sink| {
            let mut objects = database.list(&call);
            // Two replies, as a long list has.
            let last = objects.split_off(objects.len() / 2);
            async move {
                sink.send(ListReply { objects, index: 7 }).await?;
                Ok(ListReply { objects: last, index: 7 })
            }
        });
        let database = self.clone();
        router.once::<Enter, _, _>(move |call| std::future::ready(database.enter(call.request)));
        let database = self.clone();
        router.once::<Part, _, _>(move |_call| std::future::ready(database.part()));
        router
    }

    fn status(&self) -> Status {
        Status {
            cluster: Uid::from_u128(1),
            node_uid: self.lock().node_uid,
            node: "test".parse().expect("a name"),
            epoch: "1-aaaa".to_owned(),
            index: 7,
            hash: "00".repeat(32),
            objects: 0,
            slots: 0,
            watches: 0,
            store_bytes: 0,
            stalled: String::new(),
            source: "hub".to_owned(),
            heard_ms: None,
            degraded: String::new(),
            feature_level: 1,
            anchor: 1,
        }
    }

    fn list(&self, call: &Call<List>) -> Vec<Object> {
        assert_eq!(call.request.kind, Some(Kind::System), "systems alone are asked for");
        let object = |name: &&str| Object {
            kind: Kind::System,
            name: (*name).to_owned(),
            uid: new_uid(),
            version: 1,
            spec: serde_json::Value::Null,
            slots: vec![],
        };
        self.lock().systems.iter().map(object).collect()
    }

    fn enter(&self, request: EnterRequest) -> Result<EnterReply, Failure> {
        let mut state = self.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        assert_eq!(request.node, state.node_uid, "a node enters as itself");
        state.entered.push(request);
        Ok(EnterReply { index: 7, taken: 1, orphans: vec!["system old: the name is taken".to_owned()] })
    }

    fn part(&self) -> Result<EnterReply, Failure> {
        let mut state = self.lock();
        state.parted += 1;
        state.node_uid = new_uid();
        Ok(EnterReply { index: 1, taken: 1, orphans: vec![] })
    }
}
