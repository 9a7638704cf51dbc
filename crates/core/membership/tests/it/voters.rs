//! The policy for voters: every small cluster in every condition, and random larger ones.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Uid;
use acp_core_membership::voters::{AWAY_MAX_MS, Candidate, LAG_MAX, Step, View, plan};
use proptest::prelude::*;

use crate::model::uid;

/// In what condition a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Online,
    Lost,
    Parked,
    ParkedOnline,
    JustGone,
}

const GRID: [Condition; 3] = [Condition::Online, Condition::Lost, Condition::Parked];
const ALL: [Condition; 5] =
    [Condition::Online, Condition::Lost, Condition::Parked, Condition::ParkedOnline, Condition::JustGone];

/// More steps than any way to a fixed point has: five members prepared, fed and voted in, others dismissed.
const STEPS_MAX: usize = 60;

fn member(condition: Condition) -> Candidate {
    Candidate {
        parked: matches!(condition, Condition::Parked | Condition::ParkedOnline),
        online: matches!(condition, Condition::Online | Condition::ParkedOnline),
        for_ms: if condition == Condition::JustGone { AWAY_MAX_MS - 1 } else { AWAY_MAX_MS },
        prepared: false,
    }
}

/// A cluster of members n1, n2, .. in these conditions of which these vote; the leader is the last voter that is there.
fn view(conditions: &[Condition], voters: &BTreeSet<Uid>, wanted: u32) -> Option<View> {
    let numbered = (1..).map(uid).zip(conditions);
    let mut members: BTreeMap<Uid, Candidate> = numbered.map(|(uid, condition)| (uid, member(*condition))).collect();
    for voter in voters {
        members.entry(*voter).and_modify(|member| member.prepared = true);
    }
    let leader = voters.iter().rfind(|voter| members.get(voter).is_some_and(|member| member.online));
    let leader = *leader?;
    let (voters, forgetful, learners) = (voters.clone(), BTreeSet::new(), BTreeMap::new());
    Some(View { wanted, leader, members, voters, forgetful, learners })
}

fn online(view: &View, voters: &BTreeSet<Uid>) -> usize {
    voters.iter().filter(|voter| view.members.get(voter).is_some_and(|member| member.online)).count()
}

/// Goes through with a step, as the hub does; asserts that it was a good one.
fn take(view: &mut View, step: Step) {
    match step {
        Step::Nothing => {}
        Step::Prepare(uid) => {
            let member = view.members.get_mut(&uid).expect("a member");
            assert!(member.online && !member.parked && !member.prepared, "{uid} is prepared");
            member.prepared = true;
        }
        Step::AddLearner(uid) => {
            assert!(view.members[&uid].prepared && !view.voters.contains(&uid), "{uid} becomes a learner");
            assert_eq!(view.learners.insert(uid, LAG_MAX + 1), None, "once");
            assert_eq!(plan(view), Step::Nothing, "it is too far behind to vote");
            view.learners.insert(uid, LAG_MAX);
        }
        Step::SetVoters(next) => {
            assert!(online(view, &view.voters) * 2 > view.voters.len(), "{view:?}: nobody can decide it");
            assert!(online(view, &next) * 2 > next.len(), "{view:?}: {next:?} have no majority");
            let coming: Vec<Uid> = next.difference(&view.voters).copied().collect();
            let going = view.voters.difference(&next).count();
            let is_one_change = matches!((coming.len(), going), (1 | 2, 0) | (0, 1 | 2) | (1, 1));
            assert!(is_one_change, "{view:?}: {next:?} is more than one change");
            for uid in &coming {
                let member = view.members[uid];
                assert!(member.online && member.prepared && !member.parked && view.learners[uid] <= LAG_MAX, "{uid}");
            }
            view.learners.retain(|uid, _| !next.contains(uid));
            view.voters = next;
        }
        Step::Dismiss(uid) => {
            assert!(!view.voters.contains(&uid), "{view:?}: {uid} is dismissed and votes");
            view.members.entry(uid).and_modify(|member| member.prepared = false);
            assert!(view.learners.remove(&uid).is_some() || view.members.contains_key(&uid), "{uid} was nothing");
        }
    }
}

/// Steps until there is nothing to do.
fn rest(mut view: View) -> View {
    let begun = view.clone();
    let could = online(&view, &view.voters) * 2 > view.voters.len();
    for _step in 0..STEPS_MAX {
        let step = plan(&view);
        assert!(could || step == Step::Nothing, "{begun:?}: without a majority nothing can be done");
        if step == Step::Nothing {
            return view;
        }
        take(&mut view, step);
    }
    panic!("{begun:?} does not come to rest: {view:?}");
}

/// Steps until there is nothing to do, also when who has just gone stays away; asserts that this is where it ought to end.
fn settle(view: View) -> View {
    let begun = view.clone();
    let could = online(&view, &view.voters) * 2 > view.voters.len();
    let mut view = rest(view);
    view.members.values_mut().for_each(|member| member.for_ms = AWAY_MAX_MS);
    let view = rest(view);
    if could {
        settled(&begun, &view);
    }
    view
}

fn settled(begun: &View, view: &View) {
    let expected: Vec<_> = view.members.iter().filter(|(_, member)| !member.parked).map(|(uid, _)| *uid).collect();
    let is_online = |uid: &Uid| view.members[uid].online;
    let able = expected.iter().filter(|uid| is_online(uid) || view.voters.contains(uid)).count();
    let most = usize::try_from(view.wanted).expect("small").min(expected.len()).min(able);
    let most = if most % 2 == 0 { most.saturating_sub(1) } else { most };
    if expected.iter().filter(|uid| is_online(uid)).count() * 2 <= most {
        // Those set aside go on voting while too few of the others are there.
        return;
    }
    assert_eq!(view.voters.len(), most, "{begun:?} ends in {view:?}");
    assert!(view.voters.iter().all(|uid| expected.contains(uid)), "{begun:?} ends in {view:?}");
    let is_spare = |uid: &&Uid| is_online(uid) && !view.voters.contains(uid);
    let spare = expected.iter().any(|uid| is_spare(&uid));
    let lost = view.voters.iter().any(|uid| !is_online(uid) && view.members[uid].for_ms >= AWAY_MAX_MS);
    assert!(!(spare && lost), "{begun:?} ends in {view:?}: a lost voter is not replaced");
    assert!(view.learners.is_empty());
    assert!(view.members.iter().all(|(uid, member)| member.prepared <= view.voters.contains(uid)), "{view:?}");
}

fn subsets(count: u32) -> impl Iterator<Item = BTreeSet<Uid>> {
    (1..1_u32 << count)
        .map(move |bits| (0..count).filter(|bit| bits >> bit & 1 == 1).map(|bit| uid(u128::from(bit) + 1)).collect())
}

#[test]
fn every_small_cluster_comes_to_rest_where_it_should() {
    let mut settled = 0;
    for count in 1..=5_u32 {
        for mut number in 0..3_usize.pow(count) {
            let conditions: Vec<Condition> = (0..count)
                .map(|_| {
                    let condition = GRID[number % 3];
                    number /= 3;
                    condition
                })
                .collect();
            for voters in subsets(count) {
                for wanted in [1, 3, 5] {
                    settled += usize::from(view(&conditions, &voters, wanted).map(settle).is_some());
                }
            }
        }
    }
    assert!(settled > 15_000, "{settled} clusters");
}

fn grown(conditions: &[Condition], wanted: u32) -> Vec<u128> {
    let view = settle(view(conditions, &BTreeSet::from([uid(1)]), wanted).expect("n1 is there"));
    (1..=7).filter(|number| view.voters.contains(&uid(*number))).collect()
}

#[test]
fn the_control_plane_grows_with_the_cluster() {
    use Condition::{Lost, Online, Parked};
    for (count, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (7, 5)] {
        assert_eq!(grown(&vec![Online; count], 5).len(), voters, "{count} members");
    }
    assert_eq!(grown(&[Online; 7], 3), [1, 2, 3]);
    assert_eq!(grown(&[Online, Lost, Online, Online, Online], 5), [1, 3, 4], "who is away does not begin to vote");
    assert_eq!(grown(&[Online, Parked, Online], 5), [1], "who is set aside does not count");
}

#[test]
fn a_voter_without_its_log_goes_and_comes_back_where_nobody_can_replace_it() {
    let all = |count: u128| (1..=count).map(uid).collect::<BTreeSet<Uid>>();
    for count in [3, 5] {
        let mut conditions = vec![Condition::Online; usize::try_from(count).expect("few")];
        conditions[1] = Condition::Lost;
        let mut view = view(&conditions, &all(count), 5).expect("a leader");
        assert_eq!(plan(&view), Step::Nothing, "its hub may only be away");
        view.forgetful.insert(uid(2));
        let without: BTreeSet<Uid> = all(count).into_iter().filter(|voter| *voter != uid(2)).collect();
        assert_eq!(plan(&view), Step::SetVoters(without.clone()), "of {count}");
        take(&mut view, Step::SetVoters(without));
        // It votes no more: whether it is there is seen as of any other member.
        view.members.insert(uid(2), Candidate { prepared: true, ..member(Condition::Online) });
        view.forgetful.clear();
        assert_eq!(rest(view).voters, all(count));
    }
    let spare = [Condition::Online, Condition::Lost, Condition::Online, Condition::Online];
    let mut view = view(&spare, &all(3), 3).expect("a leader");
    view.forgetful.insert(uid(2));
    assert_eq!(rest(view).voters, [1, 3, 4].map(uid).into(), "another one takes its place");
}

#[test]
fn a_voter_is_replaced_when_it_has_been_away_for_long_and_another_is_there() {
    let voters: BTreeSet<Uid> = [1, 2, 3].map(uid).into();
    let condition = |third, fourth| {
        let conditions = [Condition::Online, Condition::Online, third, fourth];
        rest(view(&conditions, &voters, 3).expect("a leader")).voters
    };
    assert_eq!(condition(Condition::JustGone, Condition::Online), voters, "it may come back at once");
    assert_eq!(condition(Condition::Lost, Condition::Online), [1, 2, 4].map(uid).into());
    assert_eq!(condition(Condition::Lost, Condition::Lost), voters, "nobody else is there");
    assert_eq!(condition(Condition::ParkedOnline, Condition::Online), [1, 2, 4].map(uid).into());
    let mut gone = view(&[Condition::Online, Condition::Online], &voters, 3).expect("a leader");
    assert_eq!(
        plan(&gone),
        Step::SetVoters([2].map(uid).into()),
        "a voter that is no member any more, and no third one"
    );
    gone.members.insert(uid(9), member(Condition::Online));
    assert_eq!(plan(&gone), Step::Prepare(uid(9)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn larger_clusters_come_to_rest_whatever_changes_on_the_way(
        conditions in prop::collection::vec(prop::sample::select(ALL.to_vec()), 1..8),
        voters in prop::collection::btree_set((1..9_u128).prop_map(uid), 1..7),
        learners in prop::collection::btree_map((1..9_u128).prop_map(uid), 0..2_000_u64, 0..3),
        wanted in prop::sample::select(vec![1_u32, 3, 5]),
        changes in prop::collection::vec((0..7_usize, prop::sample::select(ALL.to_vec())), 0..6),
    ) {
        let Some(mut view) = view(&conditions, &voters, wanted) else { return Ok(()) };
        view.learners = learners.into_iter().filter(|(uid, _)| !voters.contains(uid)).collect();
        for (which, condition) in changes {
            let step = plan(&view);
            if !matches!(step, Step::AddLearner(_)) {
                take(&mut view, step);
            }
            let uid = uid(u128::try_from(which).expect("small") + 1);
            if uid != view.leader && let Some(known) = view.members.get_mut(&uid) {
                *known = Candidate { prepared: known.prepared, ..member(condition) };
            }
            if !view.voters.contains(&view.leader) {
                return Ok(());
            }
        }
        view.learners.values_mut().for_each(|behind| *behind = 0);
        settle(view);
    }
}
