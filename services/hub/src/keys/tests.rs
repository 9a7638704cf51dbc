use super::*;

const EPOCH: &str = "1-0000000a";

fn at(ms: u64) -> BootInstant {
    BootInstant::from_millis(1_000_000 + ms)
}

fn nodes(numbers: &[u128]) -> BTreeSet<Uid> {
    numbers.iter().map(|number| Uid::from_u128(*number)).collect()
}

fn view(index: u64, removed: &[u128]) -> View {
    let members = nodes(&[1, 2, 3]);
    View { index, online: members.clone(), members, removed: nodes(removed) }
}

fn entered() -> Keys {
    let mut keys = Keys::new(at(0));
    keys.enter(EPOCH, at(0));
    keys
}

fn step(keys: &mut Keys, ms: u64, view: &View) -> Option<Step> {
    keys.step(at(ms), view).expect("there is randomness")
}

/// The numbers that are handed out, and which one is sealed with.
fn told(keys: &Keys) -> (Vec<u32>, u32) {
    let reply = keys.kept(at(0)).reply();
    (reply.keys.iter().map(|key| key.number).collect(), reply.seal)
}

fn all_have(keys: &mut Keys, number: u32) {
    let are_news = nodes(&[1, 2, 3]).into_iter().filter(|member| keys.installed(*member, number)).count();
    assert_eq!(are_news, 3);
}

#[test]
fn the_first_key_is_sealed_with_at_once_and_the_next_one_when_all_have_it() {
    let mut keys = entered();
    assert_eq!(step(&mut keys, 0, &view(7, &[])), Some(Step::Made(7, "there is none")));
    assert_eq!(told(&keys), (vec![7], 7));
    let day = u64::try_from(LIFETIME.as_millis()).expect("a day");
    assert_eq!(step(&mut keys, day - 1, &view(9, &[])), None);
    assert_eq!(keys.deadline(), at(day));
    assert_eq!(step(&mut keys, day, &view(7, &[])), Some(Step::Made(8, "the last one is a day old")), "it only grows");
    assert_eq!(told(&keys), (vec![8, 7], 7));
    keys.installed(Uid::from_u128(1), 8);
    keys.installed(Uid::from_u128(2), 8);
    assert_eq!(step(&mut keys, day + 1, &view(7, &[])), None, "the third does not have it yet");
    keys.installed(Uid::from_u128(3), 8);
    assert_eq!(step(&mut keys, day + 2, &view(7, &[])), Some(Step::Sealed(8)));
    assert_eq!(told(&keys), (vec![8, 7], 8), "the one before opens still: nobody was removed");
}

#[test]
fn what_somebody_knows_who_was_removed_goes_with_the_next_key() {
    let mut keys = entered();
    step(&mut keys, 0, &view(5, &[9]));
    all_have(&mut keys, 5);
    assert_eq!(step(&mut keys, 10, &view(6, &[9, 4])), Some(Step::Made(6, "a member was removed")));
    assert_eq!(told(&keys), (vec![6, 5], 5));
    assert_eq!(step(&mut keys, 4_999, &view(6, &[9, 4])), None);
    assert_eq!(keys.deadline(), at(5_010));
    assert_eq!(step(&mut keys, 5_010, &view(6, &[9, 4])), Some(Step::Sealed(6)), "nobody holds it up");
    assert_eq!(told(&keys), (vec![6], 6));
    // Two go within one rotation: neither knows what is sealed with in the end.
    step(&mut keys, 6_000, &view(8, &[9, 4, 2]));
    step(&mut keys, 6_001, &view(9, &[9, 4, 2, 3]));
    assert_eq!(told(&keys), (vec![9, 8], 8));
    step(&mut keys, 11_001, &view(9, &[9, 4, 2, 3]));
    assert_eq!(told(&keys), (vec![9], 9));
}

#[test]
fn who_was_removed_came_back_and_goes_again_is_noticed() {
    let mut keys = entered();
    step(&mut keys, 0, &view(5, &[4]));
    assert_eq!(step(&mut keys, 1, &view(6, &[])), None, "it came back, and knows the key now");
    assert_eq!(step(&mut keys, 2, &view(7, &[4])), Some(Step::Made(7, "a member was removed")));
}

#[test]
fn a_successor_goes_on_with_the_newest_keys_of_all_and_finishes_what_was_begun() {
    let mut first = entered();
    step(&mut first, 0, &view(5, &[]));
    let old = first.kept(at(0));
    step(&mut first, 1, &view(6, &[4]));
    let new = first.kept(at(1_001));
    let mut next = entered();
    next.follow(&old, at(1_000));
    next.succeed(&[old, new.clone(), Kept { epoch: "2-0000000b".to_owned(), seal: 99, ..new }], at(1_001));
    assert_eq!(told(&next), (vec![6, 5], 5));
    assert_eq!(next.kept(at(1_001)).keys, first.kept(at(1_001)).keys, "with the same secrets");
    assert_eq!(step(&mut next, 5_001, &view(9, &[4])), Some(Step::Sealed(6)), "its age was told, too");
    assert_eq!(told(&next), (vec![6], 6), "the removed one's key is gone");
    assert_eq!(step(&mut next, 5_002, &view(9, &[4, 3])), Some(Step::Made(9, "a member was removed")));
}

#[test]
fn another_epoch_begins_with_keys_of_its_own_above_what_its_members_have() {
    let mut keys = entered();
    step(&mut keys, 0, &view(500, &[]));
    let before = keys.kept(at(0));
    keys.enter("2-0000000b", at(1));
    assert!(keys.is_empty());
    keys.follow(&before, at(1));
    assert!(keys.is_empty(), "keys of another epoch do not count");
    all_have(&mut keys, 500);
    keys.installed(Uid::from_u128(3), u32::MAX);
    assert_eq!(step(&mut keys, 2, &view(3, &[])), Some(Step::Made(501, "there is none")), "nor what nobody can have");
    keys.installed(Uid::from_u128(2), 700);
    assert_eq!(step(&mut keys, 5_001, &view(3, &[])), None);
    let unknown = Step::Made(701, "a member has one that no hub knows");
    assert_eq!(step(&mut keys, 5_002, &view(3, &[])), Some(unknown), "and could not take an older one");
    assert_ne!(keys.kept(at(2)).keys[0].secret, before.keys[0].secret);
}

#[test]
fn what_is_no_key_changes_nothing_and_no_secret_is_shown() {
    let mut keys = entered();
    step(&mut keys, 0, &view(5, &[]));
    let kept = keys.kept(at(0));
    let secret = kept.keys[0].secret.clone();
    assert_eq!(secret.len(), 64);
    for shown in [format!("{kept:?}"), format!("{keys:?}"), format!("{:?}", kept.clone().reply())] {
        assert!(!shown.contains(&secret), "{shown}");
    }
    let damaged = Kept { keys: vec![SyncKey { number: 6, secret: secret[2..].to_owned() }], ..kept };
    keys.follow(&damaged, at(1));
    assert_eq!(told(&keys), (vec![5], 5));
}
