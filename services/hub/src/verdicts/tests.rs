use acp_core_swim::timing::{CONFIRMATION, MUTE};
use acp_wire_api::hub::{RingState, Standing as Word};

use super::*;

const SECOND: u64 = 1_000;

fn node(number: u128) -> Uid {
    Uid::from_u128(number)
}

fn at(ms: u64) -> BootInstant {
    BootInstant::from_millis(1_000_000 + ms)
}

/// A leader of nodes 1 to 5, all of which watch and keep alive.
struct World {
    table: Table,
    members: BTreeMap<Uid, String>,
    sightings: BTreeMap<Uid, Sighting>,
    quorum: bool,
}

impl World {
    fn new() -> Self {
        let members: BTreeMap<Uid, String> = (1..=5).map(|number| (node(number), "default".to_owned())).collect();
        let sighting = Sighting { online: true, heard: Some(at(0)) };
        let sightings = members.keys().map(|node| (*node, sighting)).collect();
        Self { table: Table::new(at(0), 1), members, sightings, quorum: true }
    }

    /// The same, which has heard enough, with every node well.
    fn learned() -> Self {
        let mut world = Self::new();
        world.hear(3 * SECOND);
        world.see(3 * SECOND);
        (1..=5).for_each(|by| world.says(3 * SECOND, by, 1, &[]));
        world.table.take();
        world
    }

    fn hear(&mut self, ms: u64) {
        self.sightings.values_mut().for_each(|seen| seen.heard = Some(at(ms)));
    }

    fn see(&mut self, ms: u64) -> Vec<Effect> {
        let Self { table, members, sightings, quorum } = self;
        table.see(at(ms), &Seen { members, sightings, lapses: None, quorum: *quorum });
        table.take()
    }

    /// It holds these for dead and the others for alive.
    fn says(&mut self, ms: u64, by: u128, incarnation: u64, down: &[u128]) {
        let others = self.members.keys().filter(|other| **other != node(by));
        let held = |other: &Uid| {
            let is_down = down.iter().any(|down| node(*down) == *other);
            RingState { node: *other, state: if is_down { RingStateKind::Down } else { RingStateKind::Alive } }
        };
        let states = others.map(held).collect();
        self.table.report(at(ms), node(by), &ReportRingRequest { ring: 1, incarnation, states });
    }

    fn word(&self, ms: u64, number: u128) -> Option<Word> {
        self.table.judgement(at(ms), node(number), |uid| format!("n{}", uid.as_u128())).map(|told| told.standing)
    }

    /// Lives on from deadline to deadline; answers when the node is held for down.
    fn until_down(&mut self, number: u128, from: u64, heard: impl Fn(&mut Self, u64)) -> u64 {
        let mut now = at(from);
        for _step in 0..50 {
            let due = self.table.deadline(now).expect("something is due").max(now);
            let ms = u64::try_from(due.since(at(0)).as_millis()).expect("small");
            heard(self, ms);
            self.see(ms);
            if self.word(ms, number) == Some(Word::Down) {
                return ms;
            }
            now = due + Duration::from_millis(1);
        }
        panic!("it is never down: {:?}", self.table)
    }
}

#[test]
fn a_leader_that_has_just_begun_says_nothing_and_then_what_it_has_heard() {
    let mut world = World::new();
    world.sightings.remove(&node(4));
    let asked = world.see(0).iter().filter(|effect| matches!(effect, Effect::Confirm(_))).count();
    assert_eq!(asked, 0, "whoever has no session yet may be about to be heard of");
    assert_eq!((world.word(0, 1), world.table.deadline(at(0))), (None, Some(at(3_000))));
    world.hear(3 * SECOND);
    world.see(3 * SECOND);
    assert_eq!(world.word(3_000, 1), Some(Word::Online));
    assert_eq!(world.word(3_000, 4), Some(Word::Unknown), "it has no session, and nobody has reported");
    assert_eq!(world.word(3_000, 9), None, "it is no member");
}

#[test]
fn who_changes_the_hub_it_watches_at_was_never_gone() {
    let mut world = World::learned();
    world.sightings.get_mut(&node(2)).expect("seen").online = false;
    assert_eq!(world.see(4_000), []);
    assert_eq!(world.table.deadline(at(4_000)), Some(at(4_000) + DOUBT));
    world.sightings.get_mut(&node(2)).expect("seen").online = true;
    assert_eq!(world.see(5_000), []);
    world.sightings.get_mut(&node(2)).expect("seen").online = false;
    assert_eq!(world.see(5_600), [], "the doubt begins anew");
    world.see(7_100);
    assert_eq!(world.word(7_100, 2), Some(Word::Unmanaged), "the others hold it for alive");
}

#[test]
fn nodes_of_another_domain_have_no_part_in_a_ring() {
    let mut world = World::learned();
    for number in [4, 5] {
        world.members.insert(node(number), "west".to_owned());
    }
    world.hear(10_000);
    world.see(10_000);
    world.table.take();
    for by in [4, 5] {
        world.says(10_100, by, 1, &[3]);
    }
    assert_eq!(world.table.take(), [], "they do not hear its datagrams");
    world.says(10_100, 1, 1, &[3]);
    assert_eq!(world.table.take(), [Effect::Confirm(node(3))]);
}

#[test]
fn a_node_that_is_cut_off_is_down_within_three_seconds_although_its_session_stands() {
    let mut world = World::learned();
    // It kept alive until 10 s, and the others come to hold it for dead 2.1 s later.
    world.hear(10_000);
    world.see(12_100);
    for by in [1, 2, 4, 5] {
        world.says(12_100, by, 1, &[3]);
    }
    assert_eq!(world.table.take(), [Effect::Confirm(node(3))]);
    let others = |world: &mut World, ms| {
        let living = world.sightings.iter_mut().filter(|(uid, _)| **uid != node(3));
        living.for_each(|(_, seen)| seen.heard = Some(at(ms)));
    };
    let down = world.until_down(3, 12_100, others);
    assert_eq!(down, 12_100 + u64::try_from(CONFIRMATION.as_millis()).expect("short"));
    assert!(at(down).since(at(10_000)) <= Duration::from_secs(3) && at(down).since(at(10_000)) >= MUTE);
    let told = world.table.judgement(at(down + 70), node(3), |uid| format!("n{}", uid.as_u128())).expect("judged");
    let expected =
        "session up but silent for 2670 ms; down say n1, n2, n4 and 1 others for 570 ms; confirmation failed";
    assert_eq!((told.evidence.as_str(), told.for_ms), (expected, 70));
}

#[test]
fn what_does_not_keep_alive_is_not_down_while_its_session_stands() {
    let mut world = World::learned();
    let mut old = World::new();
    old.sightings.get_mut(&node(3)).expect("seen").heard = None;
    old.table.see(at(0), &Seen { members: &old.members, sightings: &old.sightings, lapses: None, quorum: true });
    for (world, expected) in [(&mut world, Word::Down), (&mut old, Word::Online)] {
        world.see(20_000);
        for by in [1, 2, 4, 5] {
            world.says(20_000, by, 1, &[3]);
        }
        world.table.confirmed(at(20_100), node(3), false);
        assert_eq!(world.word(20_100, 3), Some(expected));
    }
}

#[test]
fn an_earlier_life_another_ring_and_a_report_that_is_not_repeated_count_for_nothing() {
    let mut world = World::learned();
    world.says(4_000, 1, 2, &[]);
    world.says(4_001, 1, 1, &[3]);
    assert_eq!(world.table.take(), [], "its service has started anew since");
    let states = vec![RingState { node: node(3), state: RingStateKind::Down }];
    world.table.report(at(4_002), node(2), &ReportRingRequest { ring: 2, incarnation: 9, states });
    assert_eq!(world.table.take(), [], "it is in ring 1");
    world.says(4_003, 2, 1, &[3]);
    assert_eq!(world.table.take(), [Effect::Confirm(node(3))]);
    world.table.confirmed(at(4_004), node(3), true);
    assert_eq!(world.word(4_004, 3), Some(Word::Online), "one of four");
    // All but the accuser's reports have lapsed at 18 s, and its own a second later.
    world.hear(18_500);
    world.see(18_500);
    assert_eq!(world.word(18_500, 3), Some(Word::Isolated), "those who say nothing any more do not speak for it");
    world.see(19_003);
    assert_eq!(world.word(19_003, 3), Some(Word::Online), "nobody says anything");
}

#[test]
fn without_a_quorum_nothing_is_known_but_what_was() {
    let mut world = World::learned();
    world.hear(5_000);
    world.see(5_000);
    world.quorum = false;
    world.see(7_000);
    let told = world.table.judgement(at(9_000), node(1), |uid| uid.to_string()).expect("judged");
    assert_eq!(told.standing, Word::Unknown);
    assert!(told.evidence.starts_with("no quorum; ") && told.evidence.ends_with("; last online, 4 s ago"), "{told:?}");
}

#[test]
fn members_come_and_go_and_each_is_judged_as_long_as_it_is_one() {
    let mut world = World::learned();
    world.members.remove(&node(5));
    world.see(4_000);
    assert_eq!((world.word(4_000, 5), world.word(4_000, 4)), (None, Some(Word::Online)));
    world.says(4_000, 5, 1, &[3]);
    assert_eq!(world.table.take(), [], "who is none says nothing");
}
