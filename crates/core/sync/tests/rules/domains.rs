//! What is of other domains comes by relays, and by nothing else.

use acp_base::Uid;
use acp_core_sync::{
    LinkId, Origin, Refused, SlotKey, Sync, To,
    wire::{Body, Digest, Nack, Range, Rolling, decode},
};

use crate::harness::{HERE, OTHER, THERE, at, delta, item, key, message, run, sent, stats, sync};

/// A node with one of another domain, and one of a third.
fn here() -> Sync {
    let mut here = sync(HERE);
    here.set_domain(at(0), THERE, Some("west".into()));
    here.set_domain(at(0), OTHER, Some("east".into()));
    here
}

fn digest(newest: u64) -> Digest {
    let origin = Origin { node: THERE, incarnation: 5 };
    Digest { origin, newest, horizon: 0, slots: Rolling::default(), reporters: Vec::new(), meta: None }
}

#[test]
fn each_way_carries_what_is_its_own() {
    let mut here = here();
    let own = message(Body::Delta(delta(5, 1, 1, vec![item(1, 1, "a")])));
    let mut relayed = delta(5, 1, 1, vec![item(1, 1, "a")]);
    relayed.relayed = true;
    let relayed = message(Body::Delta(relayed));
    assert_eq!(here.receive(at(1), THERE, &own), Err(Refused::Astray(THERE)), "its datagrams are not heard");
    assert_eq!(here.receive_from(at(1), "west", &own), Err(Refused::Astray(HERE)), "a relay says that it relays");
    assert_eq!(here.receive_from(at(1), "east", &relayed), Err(Refused::Astray(THERE)), "not of that domain");
    assert_eq!(here.slots(at(1), THERE).count(), 0);
    assert_eq!(here.counters().astray, 3);
    assert_eq!(here.receive_from(at(1), "west", &relayed), Ok(()));
    assert_eq!(here.slots(at(1), THERE).count(), 1);
    let asked = |node| message(Body::Nack(Nack { origin: Origin { node, incarnation: 5 }, ranges: vec![Range(1, 1)] }));
    assert_eq!(here.answer(at(1), &asked(THERE)), Err(Refused::Astray(THERE)), "nothing is passed on");
    assert_eq!(here.answer(at(1), &own).map(drop), Err(Refused::Astray(HERE)), "that is no question");
    assert_eq!(here.answer(at(1), &asked(HERE)), Ok(Vec::new()), "it has said nothing yet");
}

#[test]
fn a_link_is_told_state_and_a_question_answered_with_state() {
    let (mut here, link) = (here(), LinkId(1));
    for slot in 0..3 {
        here.publish(at(1), &key(slot), (*b"state").into()).expect("fine");
        here.publish(at(1), &stats(slot), (*b"measured").into()).expect("fine");
    }
    run(&mut here, at(10));
    assert!(here.open_link(link, &[]));
    let mut told: Vec<SlotKey> = Vec::new();
    let mut digests = Vec::new();
    while let Some(bytes) = here.next_for(at(11), link) {
        match decode(&bytes).expect("our own").body {
            Body::Delta(delta) => told.extend(delta.items.into_iter().map(|item| item.key)),
            Body::Digests(said) => digests.extend(said),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, [key(0), key(1), key(2)]);
    assert_eq!((digests.len(), digests[0].slots.count), (1, 3));
    assert_eq!(here.next_for(at(12), link), None, "each is told once");
    let origin = here.origin();
    let question = message(Body::Nack(Nack { origin, ranges: vec![Range(1, 1 << 40)] }));
    let answers = here.answer(at(12), &question).expect("a question");
    let items = answers.iter().flat_map(|bytes| match decode(bytes).expect("our own").body {
        Body::Delta(delta) => delta.items,
        other => panic!("{other:?}"),
    });
    assert_eq!(items.map(|item| item.key).collect::<Vec<_>>(), told);
    here.close_link(link);
    assert_eq!(here.next_for(at(13), link), None);
}

#[test]
fn only_so_many_links_are_told() {
    let mut here = here();
    let opened = (0..100).take_while(|number| here.open_link(LinkId(*number), &[])).count();
    assert_eq!(opened, acp_core_sync::limits::LINKS_MAX);
    here.close_link(LinkId(0));
    assert!(here.open_link(LinkId(100), &[]));
}

#[test]
fn the_first_relay_hands_on_at_once_and_the_second_what_the_first_did_not() {
    let relayed = |sequence| {
        let mut delta = delta(5, sequence, sequence, vec![item(sequence, sequence, "a")]);
        delta.relayed = true;
        message(Body::Delta(delta))
    };
    // Later than a node counts as one that has just come.
    let begin = 20_000;
    let handed_on = |rank: Option<u8>, heard: bool| {
        let mut here = here();
        here.set_relay(rank);
        run(&mut here, at(begin));
        here.receive_from(at(begin), "west", &relayed(1)).expect("fine");
        if heard {
            here.set_domain(at(begin), Uid::from_u128(77), None);
            here.receive(at(begin + 1), Uid::from_u128(77), &relayed(1)).expect("fine");
        }
        let sent = run(&mut here, at(begin + 200));
        let at_ms = |(now, effect): &(acp_base::BootInstant, acp_core_sync::Effect)| match effect {
            acp_core_sync::Effect::Send { to: To::Group, bytes }
                if matches!(decode(bytes).expect("our own").body, Body::Delta(_)) =>
            {
                Some(now.since(at(begin)).as_millis())
            }
            _ => None,
        };
        sent.iter().filter_map(at_ms).collect::<Vec<_>>()
    };
    let first = handed_on(Some(0), false);
    assert!(first.len() == 1 && first[0] < 10, "{first:?}");
    let second = handed_on(Some(1), false);
    assert!(second.len() == 1 && (40..60).contains(&second[0]), "{second:?}");
    assert_eq!(handed_on(Some(1), true), []);
    assert_eq!(handed_on(None, false), [], "who is no relay keeps it");
}

#[test]
fn who_lacks_something_of_another_domain_asks_its_relay_or_over_its_link() {
    let relay = Uid::from_u128(77);
    let said = message(Body::Digests(vec![digest(3)]));
    let mut member = here();
    member.receive(at(1), relay, &said).expect("fine");
    let asked = sent(&run(&mut member, at(60)));
    assert!(asked.iter().any(|(to, body)| *to == To::Group && matches!(body, Body::Nack(_))), "{asked:?}");
    let mut linked = here();
    linked.set_linked("west".into(), true);
    linked.receive_from(at(1), "west", &said).expect("fine");
    let asked = run(&mut linked, at(60));
    let goes_over = |effect: &acp_core_sync::Effect| matches!(effect, acp_core_sync::Effect::Ask { domain, .. } if &**domain == "west");
    assert!(asked.iter().any(|(_, effect)| goes_over(effect)), "{asked:?}");
}
