use super::*;

fn kept(text: &str) -> Kept {
    Kept {
        status: 202,
        media_type: "application/json".into(),
        location: None,
        body: Some(text.into()),
        why: String::new(),
    }
}

fn fingerprint(body: &str) -> Fingerprint {
    Fingerprint::new("POST", "/v1/systems", body.as_bytes())
}

const OWNER: Uid = Uid::from_u128(7);

#[tokio::test]
async fn a_request_is_begun_once_also_across_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Answers::open(folder.path().join("answers")).expect("readable");
    let (answers, ticket) = (open(), Ticket::new(OWNER, "a"));
    assert_eq!(answers.begin(ticket, fingerprint("1")).await, Ok(Begun::Fresh));
    assert_eq!(answers.begin(ticket, fingerprint("1")).await, Err(Refusal::still_running()));
    assert_eq!(answers.begin(ticket, fingerprint("2")).await, Err(Refusal::other_request()));
    let died = open();
    assert_eq!(died.begin(ticket, fingerprint("1")).await, Err(Refusal::outcome_unknown()), "nobody knows");
    answers.end(ticket, kept("{}")).await;
    assert_eq!(answers.begin(ticket, fingerprint("1")).await, Ok(Begun::Answered(kept("{}"))));
    assert_eq!(open().begin(ticket, fingerprint("1")).await, Ok(Begun::Answered(kept("{}"))));
    assert_eq!(open().begin(ticket, fingerprint("2")).await, Err(Refusal::other_request()));
    let other = Ticket::new(Uid::from_u128(8), "a");
    assert_eq!(answers.begin(other, fingerprint("2")).await, Ok(Begun::Fresh), "another key's requests are its own");
}

#[tokio::test]
async fn what_changed_nothing_may_be_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let answers = Answers::open(folder.path().join("answers")).expect("readable");
    let ticket = Ticket::new(OWNER, "a");
    for _ in 0..2 {
        assert_eq!(answers.begin(ticket, fingerprint("1")).await, Ok(Begun::Fresh));
        answers.forget(ticket).await;
    }
    assert_eq!(std::fs::read_dir(folder.path().join("answers")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn answers_are_bounded_and_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("answers");
    let answers = Answers::open(directory.clone()).expect("readable");
    let now = wall_now().0;
    for number in 0..ANSWERS_PER_KEY_MAX {
        let ticket = Ticket::new(OWNER, &number.to_string());
        assert_eq!(answers.admit(ticket, fingerprint("1"), now), Ok(Stage::Running));
    }
    assert_eq!(answers.admit(Ticket::new(OWNER, "more"), fingerprint("1"), now), Err(full().into()));
    assert_eq!(answers.admit(Ticket::new(Uid::from_u128(8), "more"), fingerprint("1"), now), Ok(Stage::Running));
    for remembered in answers.lock().requests.values_mut() {
        remembered.stage = Stage::Answered;
    }
    let later = now + ANSWER_KEPT_MS;
    assert_eq!(answers.admit(Ticket::new(OWNER, "more"), fingerprint("1"), later), Ok(Stage::Running));
    assert_eq!(answers.lock().requests.len(), 1, "the others are over");
}

#[tokio::test]
async fn a_secret_and_a_large_answer_leave_no_body() {
    let folder = tempfile::tempdir().expect("a folder");
    let answers = Answers::open(folder.path().join("answers")).expect("readable");
    let ticket = Ticket::new(OWNER, "a");
    answers.begin(ticket, fingerprint("1")).await.expect("fresh");
    answers.end(ticket, Kept { body: None, why: "it was a secret".into(), ..kept("") }).await;
    let refusal = answers.begin(ticket, fingerprint("1")).await.expect_err("it cannot be said again");
    assert_eq!(refusal, Refusal::answer_not_kept("it was a secret"));
}
