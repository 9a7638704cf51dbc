//! The feature level, raised by an operator once every member's programs know the newer one.
//!
//! Deliberately not here: what a level admits (`acp_core_cdb`), and raising it by itself. That older programs cannot come back is
//! for somebody to decide.
//!
//! **Invariant**: the level rises only after every member that is expected to be there has said that its programs read it. Who
//! was set aside and is older stalls when it comes back, says so, and goes on once it is upgraded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{Failure, Name, Uid};
use acp_io_daemon::{Call, CallContext};
use acp_wire_api::{Empty, daemon::GetHealth, hub as api};
use acp_wire_model::entry::{Action, FEATURE_LEVEL};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::App;
use crate::orders::Draft;

/// The programs that read the log.
const READERS: [&str; 2] = ["cluster", "hub"];

/// How long a program may take to say what it reads: one that is busy starting does so in less.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Members asked at once. Each takes two conversations over links that stand.
const ASKED_MAX: usize = 32;

/// How often members are asked again because others have come or gone meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// What stands against it is told of so many members: whoever has upgraded those is told of the next ones.
const TOLD_MAX: usize = 16;

/// What a member's program has said.
type Said = Result<u32, String>;

pub(super) async fn plan(app: Arc<App>, call: Call<api::PlanUpgrade>) -> Result<api::UpgradePlan, Failure> {
    app.newest(&call.context).await?;
    Ok(app.plan_upgrade().await)
}

pub(super) async fn upgrade(app: Arc<App>, call: Call<api::Upgrade>) -> Result<api::UpgradePlan, Failure> {
    app.newest(&call.context).await?;
    app.upgrade(&call.caller.actor(), &call.context).await
}

impl App {
    /// Raises the level, and answers how it stands then.
    pub(super) async fn upgrade(&self, actor: &str, context: &CallContext) -> Result<api::UpgradePlan, Failure> {
        for _attempt in 0..ATTEMPTS_MAX {
            let asked = self.snapshot().state.revision();
            let plan = self.plan_upgrade().await;
            if plan.level >= plan.to {
                return Ok(plan);
            }
            if !plan.clashes.is_empty() {
                return Err(Failure::precondition(plan.clashes.join("; ")));
            }
            // Who has come meanwhile was not asked.
            if self.newest(context).await?.state.revision() != asked {
                continue;
            }
            let draft = Draft::new(actor, &context.id, Action::FeatureLevel { level: plan.to });
            let index = self.orders.order_one(draft, context.deadline).await?;
            self.applied(index, context).await?;
            tracing::info!(actor, level = plan.to, "feature level raised");
            return Ok(api::UpgradePlan { level: plan.to, ..plan });
        }
        Err(Failure::unavailable("members come and go: ask again"))
    }

    async fn plan_upgrade(&self) -> api::UpgradePlan {
        let level = self.replica.read(acp_core_cdb::State::feature_level).max(1);
        let to = FEATURE_LEVEL.max(level);
        if level == to {
            return api::UpgradePlan { level, to, clashes: Vec::new(), effects: Vec::new() };
        }
        let said = self.ask_members().await;
        let (clashes, mut effects) = verdict(&said, to);
        effects.insert(0, format!("programs that know level {level} alone cannot come back into this cluster"));
        api::UpgradePlan { level, to, clashes, effects }
    }

    /// What the programs of every member say that they read; of a node that is alone its own.
    async fn ask_members(&self) -> Vec<(Member, [Said; 2])> {
        let snapshot = self.snapshot();
        let known = |member: &acp_core_membership::Member| Member {
            name: member.name.clone(),
            parked: member.parked,
            here: false,
        };
        let members = snapshot.state.members().iter().map(|(uid, member)| (*uid, known(member)));
        let mut members: BTreeMap<Uid, Member> = members.collect();
        if let Some(here) = self.replica.here() {
            let alone = || Member { name: self.node.clone(), parked: false, here: true };
            members.entry(here).or_insert_with(alone).here = true;
        }
        let (turns, mut asked) = (Arc::new(Semaphore::new(ASKED_MAX)), JoinSet::new());
        for member in members.into_values() {
            let client = self.founding.client.clone();
            let turns = Arc::clone(&turns);
            asked.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let [first, second] = READERS.map(|noun| match member.here {
                    true => client.own(noun),
                    false => client.on(Some(&member.name)).service(noun),
                });
                let said = tokio::join!(level_of(first), level_of(second));
                (member, [said.0, said.1])
            });
        }
        let mut said = asked.join_all().await;
        said.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        said
    }
}

/// A member that is asked.
#[derive(Clone, Debug)]
struct Member {
    name: Name,
    parked: bool,
    /// Whether it is the node of this hub.
    here: bool,
}

async fn level_of(program: acp_io_client::ServiceClient) -> Said {
    match timeout(ANSWER_LIMIT, program.deadline(ANSWER_LIMIT).call::<GetHealth>(Empty {})).await {
        Ok(Ok(health)) => Ok(health.feature_level),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_late) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

/// What stands against the level, and what comes with it.
fn verdict(said: &[(Member, [Said; 2])], to: u32) -> (Vec<String>, Vec<String>) {
    let (mut clashes, mut effects) = (Vec::new(), Vec::new());
    for (Member { name, parked, here }, said) in said {
        let older = older(said, to);
        let silent = READERS.iter().zip(said).find_map(|(noun, said)| said.as_ref().err().map(|why| (noun, why)));
        if !older.is_empty() {
            clashes.push(format!(
                "node {name} runs {older}: install the newer programs there, then: acpctl --node {name} service restart --outdated"
            ));
        } else if let Some((noun, why)) = silent {
            let what = format!("{noun} of node {name} does not say what it reads ({why})");
            match (here, parked) {
                (true, _) => clashes.push(format!("{what}: start it")),
                (false, false) => clashes.push(format!("{what}: start it, or set the node aside: acpctl node park {name}")),
                (false, true) => effects.push(format!(
                    "node {name} is parked and does not answer: if its programs are older it follows the log again once they are newer"
                )),
            }
        }
    }
    if clashes.len() > TOLD_MAX {
        let more = clashes.len() - TOLD_MAX;
        clashes.truncate(TOLD_MAX);
        clashes.push(format!("and {more} more"));
    }
    (clashes, effects)
}

/// Which of a member's programs are older, in words; empty if none is known to be.
fn older(said: &[Said; 2], to: u32) -> String {
    let of = READERS.iter().zip(said).filter_map(|(noun, said)| Some((noun, *said.as_ref().ok()?)));
    let older = of.filter(|(_, level)| *level < to).map(|(noun, level)| format!("{noun} of level {level}"));
    older.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, parked: bool, said: [Said; 2]) -> (Member, [Said; 2]) {
        (Member { name: name.parse().expect("a name"), parked, here: name == "n7" }, said)
    }

    #[test]
    fn older_and_silent_members_are_named_with_what_to_do() {
        let silent = || Err("no way to it".to_owned());
        let said = [
            member("n1", false, [Ok(2), Ok(3)]),
            member("n2", false, [Ok(1), Ok(1)]),
            member("n3", false, [Ok(2), Ok(1)]),
            member("n4", false, [silent(), silent()]),
            member("n5", true, [silent(), silent()]),
            member("n6", true, [Ok(1), silent()]),
            member("n7", false, [silent(), Ok(2)]),
        ];
        let (clashes, effects) = verdict(&said, 2);
        let older = |name: &str, what: &str| {
            format!(
                "node {name} runs {what}: install the newer programs there, then: acpctl --node {name} service restart \
                 --outdated"
            )
        };
        assert_eq!(
            clashes,
            [
                older("n2", "cluster of level 1 and hub of level 1"),
                older("n3", "hub of level 1"),
                "cluster of node n4 does not say what it reads (no way to it): start it, or set the node aside: acpctl node \
                 park n4"
                    .to_owned(),
                older("n6", "cluster of level 1"),
                "cluster of node n7 does not say what it reads (no way to it): start it".to_owned(),
            ]
        );
        assert_eq!(effects.len(), 1, "{effects:?}");
        assert!(effects[0].starts_with("node n5 is parked"), "{effects:?}");
        assert_eq!(verdict(&said[..1], 2), (vec![], vec![]));
        let many: Vec<_> = (0..20).map(|n| member(&format!("m{n}"), false, [Ok(1), Ok(1)])).collect();
        let (clashes, _effects) = verdict(&many, 2);
        assert_eq!((clashes.len(), clashes[TOLD_MAX].as_str()), (TOLD_MAX + 1, "and 4 more"));
    }
}
