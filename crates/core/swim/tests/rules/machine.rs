//! The verdicts over time: what is asked, when, how often, and what is told.

use acp_base::{BootInstant, Uid};
use acp_core_swim::{
    Effect, State, Verdict, Verdicts,
    timing::{CONFIRMATION, CONFIRMATION_AGAIN, CONFIRMATIONS_MAX, MUTE},
};

fn node(number: u128) -> Uid {
    Uid::from_u128(number)
}

/// A hub with one ring of so many nodes, all of whom have a session; and what it has asked for since.
struct Hub {
    verdicts: Verdicts,
    now: BootInstant,
    effects: Vec<Effect>,
}

impl Hub {
    fn of(count: u128) -> Self {
        let mut hub = Self { verdicts: Verdicts::default(), now: BootInstant::from_millis(1_000), effects: Vec::new() };
        let ring: Vec<Uid> = (0..count).map(node).collect();
        hub.verdicts.set_rings(hub.now, [&ring[..]], &mut hub.effects);
        for node in &ring {
            hub.verdicts.session(hub.now, *node, true, &mut hub.effects);
            hub.verdicts.heard(hub.now, *node, hub.now, &mut hub.effects);
        }
        hub.effects.clear();
        hub
    }

    fn says(&mut self, by: u128, about: u128, state: State) -> Vec<Effect> {
        self.verdicts.report(self.now, node(by), node(about), state, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn session(&mut self, about: u128, connected: bool) -> Vec<Effect> {
        self.verdicts.session(self.now, node(about), connected, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn answers(&mut self, about: u128, answered: bool) -> Vec<Effect> {
        self.verdicts.confirmed(self.now, node(about), answered, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn heard(&mut self, about: u128) -> Vec<Effect> {
        self.verdicts.heard(self.now, node(about), self.now, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    /// Lives on to the deadline.
    fn wait(&mut self) -> Vec<Effect> {
        let deadline = self.verdicts.next_deadline().expect("something is awaited");
        assert!(deadline > self.now, "a deadline that has passed");
        self.now = deadline;
        self.verdicts.wake(self.now, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn verdict(&self, about: u128) -> Verdict {
        self.verdicts.verdict(self.now, node(about)).expect("a member").0
    }
}

fn told(effects: &[Effect]) -> Vec<(Uid, Verdict)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Changed { node, to, .. } => Some((*node, *to)),
        Effect::Confirm(_) => None,
    });
    told.collect()
}

fn asked(effects: &[Effect]) -> Vec<Uid> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::Confirm(node) => Some(*node),
        Effect::Changed { .. } => None,
    });
    asked.collect()
}

#[test]
fn a_death_with_the_session_is_asked_about_and_told_once() {
    let mut hub = Hub::of(3);
    hub.says(0, 2, State::Alive);
    assert_eq!(told(&hub.session(2, false)), [(node(2), Verdict::Unmanaged)]);
    assert_eq!(hub.says(0, 2, State::Suspect), []);
    assert_eq!(asked(&hub.says(0, 2, State::Down)), [node(2)]);
    assert_eq!(hub.verdict(2), Verdict::Unmanaged, "its death is not proven yet");
    let before = hub.now;
    let effects = hub.wait();
    assert_eq!(hub.now.since(before), CONFIRMATION);
    assert_eq!(told(&effects), [(node(2), Verdict::Down)]);
    let Some(Effect::Changed { evidence, .. }) = effects.first() else { panic!("{effects:?}") };
    assert!(evidence.to_string().contains("no session for 500 ms; down say"), "{evidence}");
    assert_eq!(hub.says(1, 2, State::Down), [], "told once");
    assert_eq!(told(&hub.session(2, true)), [(node(2), Verdict::Isolated)], "a session is an answer");
    hub.says(0, 2, State::Alive);
    assert_eq!(told(&hub.says(1, 2, State::Alive)), [(node(2), Verdict::Online)]);
}

#[test]
fn where_nobody_of_the_ring_is_heard_it_is_unknown() {
    let mut hub = Hub::of(3);
    let unknown = hub.session(2, false);
    assert!(matches!(&told(&unknown)[..], [(_, Verdict::Unknown { .. })]), "{unknown:?}");
    assert_eq!(asked(&unknown), [node(2)]);
    assert_eq!(hub.answers(2, false), []);
}

#[test]
fn a_session_that_is_only_silent_dies_when_it_is_mute() {
    let mut hub = Hub::of(3);
    let begin = hub.now;
    assert_eq!(asked(&hub.says(0, 2, State::Down)), [node(2)]);
    assert_eq!(told(&hub.wait()), [], "it was heard half a second ago");
    assert_eq!(told(&hub.wait()), [(node(2), Verdict::Down)]);
    assert_eq!(hub.now.since(begin), MUTE);
}

#[test]
fn who_answers_is_isolated_and_asked_again_later() {
    let mut hub = Hub::of(3);
    hub.says(0, 2, State::Down);
    assert_eq!(told(&hub.answers(2, true)), [(node(2), Verdict::Isolated)]);
    let answered = hub.now;
    assert_eq!(asked(&hub.wait()), [node(2)]);
    assert_eq!(hub.now.since(answered), CONFIRMATION_AGAIN);
    assert_eq!(hub.verdict(2), Verdict::Isolated, "while it is asked again the answer stands");
    assert_eq!(hub.heard(2), [], "what comes over the session answers");
    assert_eq!(hub.answers(2, false), [], "and what comes of the question then counts for nothing");
}

#[test]
fn one_accuser_among_many_is_not_the_ring() {
    let mut hub = Hub::of(5);
    for by in [0, 1, 2] {
        hub.says(by, 4, State::Alive);
    }
    assert_eq!(asked(&hub.says(3, 4, State::Down)), [node(4)], "the question is on its way in time");
    assert_eq!(told(&hub.answers(4, false)), [], "but one word is not enough");
    assert_eq!(hub.verdicts.next_deadline().map(|at| at.since(hub.now)), Some(CONFIRMATION_AGAIN), "nor is silence");
    assert_eq!(hub.says(4, 4, State::Down), [], "nobody speaks of itself");
    assert_eq!(hub.says(9, 4, State::Down), [], "nor who is not of the ring");
    assert_eq!(hub.says(2, 4, State::Down), [], "two of four are; it was heard a moment ago");
    hub.session(3, false);
    hub.session(2, false);
    assert_eq!(hub.verdicts.next_deadline().map(|_| ()), Some(()), "those without a session are asked about");
    assert!(matches!(hub.verdict(4), Verdict::Online), "the word of those without a session does not count");
}

#[test]
fn alone_in_its_ring_the_question_decides() {
    let mut hub = Hub::of(1);
    assert_eq!(asked(&hub.session(0, false)), [node(0)]);
    assert_eq!(told(&hub.answers(0, false)), [(node(0), Verdict::Down)]);
    assert_eq!(asked(&hub.wait()), [node(0)]);
    assert_eq!(told(&hub.answers(0, true)), [(node(0), Verdict::Unmanaged)]);
}

#[test]
fn without_quorum_everything_is_old() {
    let mut hub = Hub::of(2);
    hub.verdicts.quorum(hub.now, false, &mut hub.effects);
    let effects = std::mem::take(&mut hub.effects);
    assert_eq!(told(&effects).len(), 2);
    hub.now = hub.now + CONFIRMATION_AGAIN;
    let verdict = hub.verdict(1);
    let Verdict::Unknown { last: Some(last), age } = verdict else { panic!("{verdict:?}") };
    assert_eq!((last.to_string(), age), ("online".to_owned(), CONFIRMATION_AGAIN));
    assert_eq!(hub.says(0, 1, State::Down), [], "nobody is asked");
    hub.verdicts.quorum(hub.now, true, &mut hub.effects);
    assert_eq!(told(&hub.effects).len(), 2);
}

#[test]
fn questions_are_bounded_and_everybody_has_a_turn() {
    let mut hub = Hub::of(64);
    let mut questions = Vec::new();
    for about in 1..64 {
        questions.extend(asked(&hub.says(0, about, State::Down)));
    }
    assert_eq!(questions.len(), CONFIRMATIONS_MAX);
    questions.extend(asked(&hub.wait()));
    questions.sort_unstable();
    questions.dedup();
    assert_eq!(questions.len(), 63, "the others in the second round");
    for _round in 0..20 {
        assert!(asked(&hub.wait()).len() <= CONFIRMATIONS_MAX);
    }
}

#[test]
fn a_session_that_never_kept_alive_is_never_mute() {
    let mut hub = Hub::of(3);
    hub.session(2, false);
    hub.session(2, true);
    hub.says(0, 2, State::Down);
    hub.answers(2, false);
    hub.now = hub.now + 4 * MUTE;
    hub.verdicts.wake(hub.now, &mut hub.effects);
    assert_eq!(hub.verdict(2), Verdict::Online, "its silence says nothing");
    hub.heard(2);
    hub.says(0, 2, State::Alive);
    hub.says(0, 2, State::Down);
    hub.answers(2, false);
    hub.now = hub.now + MUTE;
    hub.verdicts.wake(hub.now, &mut hub.effects);
    assert_eq!(hub.verdict(2), Verdict::Down, "one that kept alive once is expected to do so");
}

#[test]
fn what_was_heard_before_the_question_does_not_answer_it() {
    let mut hub = Hub::of(3);
    let before = hub.now;
    hub.now = hub.now + 2 * MUTE;
    hub.says(0, 2, State::Down);
    hub.answers(2, false);
    assert_eq!(hub.verdict(2), Verdict::Down);
    let late = BootInstant::from_nanos(before.as_nanos() + 1);
    hub.verdicts.heard(hub.now, node(2), late, &mut hub.effects);
    assert_eq!(told(&hub.effects), [], "it was said before the node fell silent");
    hub.effects.clear();
    assert_eq!(told(&hub.heard(2)), [(node(2), Verdict::Isolated)]);
}

#[test]
fn a_report_replaces_the_one_before() {
    let mut hub = Hub::of(3);
    let says = |hub: &mut Hub, states: &[(Uid, State)]| {
        hub.verdicts.reported(hub.now, node(0), states, &mut hub.effects);
        std::mem::take(&mut hub.effects)
    };
    assert_eq!(asked(&says(&mut hub, &[(node(1), State::Down), (node(2), State::Alive)])), [node(1)]);
    assert_eq!(told(&hub.answers(1, true)), [(node(1), Verdict::Isolated)]);
    assert_eq!(told(&says(&mut hub, &[(node(2), State::Alive)])), [(node(1), Verdict::Online)], "it is not named");
    let unheard = hub.session(1, false);
    assert!(matches!(told(&unheard)[..], [(_, Verdict::Unknown { .. })]), "{unheard:?}");
}
