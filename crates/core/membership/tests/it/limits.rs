//! What happens where a list is full.

use acp_base::Name;
use acp_core_membership::{Command, Rejection, State, limits};

use crate::model::{HOUR, NOW, address, cluster, done, init, join, key, name, node, refused, refused_at, token, uid};

/// A cluster with as many members as there can be.
fn full() -> State {
    let mut state = cluster();
    done(&mut state, token("many", HOUR, limits::TOKEN_USES_MAX));
    let last = u16::try_from(limits::MEMBERS_MAX).expect("a small number");
    for number in 2..=last {
        state.apply(join("many", node(number)), NOW).expect("there is room");
    }
    assert_eq!(state.verify(), Ok(()));
    state
}

#[test]
fn members_are_bounded_and_a_place_becomes_free() {
    let mut state = full();
    assert_eq!(refused(&mut state, join("many", node(2_000))), Rejection::MembersFull);
    done(&mut state, Command::Remove { name: name("n7") });
    done(&mut state, join("many", node(2_000)));
    let text = serde_json::to_string(&state.directory().expect("there is a cluster")).expect("JSON");
    assert!(text.len() < 512 * 1024, "{} bytes are more than a directory is made for", text.len());
}

#[test]
fn who_joins_and_leaves_without_end_is_stopped_and_removals_are_not() {
    let mut state = State::default();
    done(&mut state, init(node(0)));
    let mut gone = 0;
    for batch in 0..4 {
        done(&mut state, token(&format!("t{batch}"), HOUR, limits::TOKEN_USES_MAX));
        for _use in 0..limits::TOKEN_USES_MAX {
            gone += 1;
            let join = join(&format!("t{batch}"), node(gone));
            if usize::from(gone) == limits::NODES_MAX {
                assert_eq!(refused(&mut state, join), Rejection::NodesFull);
                return;
            }
            state.apply(join, NOW).expect("there is room");
            state.apply(Command::Leave { node: uid(u128::from(gone)) }, NOW).expect("it may leave");
        }
    }
    panic!("{gone} nodes have come and gone");
}

#[test]
fn tokens_are_bounded_and_those_that_do_not_count_make_room() {
    let mut state = cluster();
    for number in 1..limits::TOKENS_MAX {
        done(&mut state, token(&format!("t{number}"), if number == 9 { 1 } else { HOUR }, 1));
    }
    assert_eq!(refused(&mut state, token("more", HOUR, 1)), Rejection::TokensFull);
    assert_eq!(state.apply(token("more", HOUR, 1), NOW + 1).map_err(|error| error.to_string()).map(drop), Ok(()));
    assert_eq!(state.verify(), Ok(()));
    assert_eq!(refused_at(&mut state, token("most", HOUR, 1), NOW + 1), Rejection::TokensFull);
    for (lifetime_ms, uses) in [(0, 1), (limits::TOKEN_LIFETIME_MAX_MS + 1, 1), (1, 0), (1, limits::TOKEN_USES_MAX + 1)]
    {
        assert!(matches!(refused(&mut state, token("bad", lifetime_ms, uses)), Rejection::Range { .. }));
    }
}

#[test]
fn keys_are_bounded_and_a_root_without_room_does_not_join() {
    let mut state = cluster();
    for number in 0..limits::KEYS_MAX {
        state.apply(key(&format!("k{number}"), &format!("secret {number}")), NOW).expect("there is room");
    }
    assert_eq!(refused(&mut state, key("more", "more")), Rejection::KeysFull);
    assert_eq!(refused(&mut state, join("t", crate::model::with_root_key(2, "r"))), Rejection::KeysFull);
    done(&mut state, join("t", node(2)));
}

#[test]
fn a_state_that_no_command_leads_to_is_seen() {
    let state = cluster();
    let damage = |what: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(&state).expect("JSON");
        change(&mut value);
        let damaged: State = serde_json::from_value(value).expect("it has the right shape");
        assert_eq!(damaged.verify().expect_err(what).to_string(), what);
    };
    let first = uid(1).to_string();
    damage("no member is a controller", &|value| value["members"][&first]["controller"] = false.into());
    damage("something is there without a cluster", &|value| value["founded"] = serde_json::Value::Null);
    damage("a member is among those gone", &|value| value["retired"] = serde_json::json!([first]));
    damage("two members have one address", &|value| {
        let mut copy = value["members"][&first].clone();
        copy["name"] = Name::as_str(&name("n9")).into();
        copy["key"] = crate::model::digest("x").to_string().into();
        value["members"][uid(9).to_string()] = copy;
    });
    damage("a root's key is of no member", &|value| {
        value["keys"]["root@n9"] = serde_json::json!({
            "uid": uid(5), "digest": crate::model::digest("y").to_string(), "scope": "admin", "created_ms": 1,
        });
    });
    assert_eq!(address(1), state.members()[&uid(1)].address);
}
