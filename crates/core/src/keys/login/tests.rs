//! Every branch of [`LoginRecord`], by stories of nodes.

use super::*;

/// A question about a PIN that was never taken.
fn fresh() -> LoginQuestion {
    LoginQuestion {
        token: TokenInfo::default(),
        marker: PinMarker::None,
        was_taken: false,
        is_typed: false,
        counts_tries: false,
    }
}

/// A question about a PIN that the token took before from its unchanged file.
fn taken() -> LoginQuestion {
    LoginQuestion { was_taken: true, ..fresh() }
}

fn refused() -> LoginOutcome {
    LoginOutcome::Refused("CKR_PIN_INCORRECT".to_owned())
}

fn killed() -> LoginOutcome {
    LoginOutcome::Unknown("killed".to_owned())
}

/// Presents, which must be allowed, and ends so.
fn present(record: LoginRecord, node: &str, question: &LoginQuestion, outcome: LoginOutcome) -> LoginRecord {
    match record.judge(node, question) {
        Verdict::Present(presenting) => presenting.ended(node, outcome),
        kept => panic!("{node}: {kept:?}"),
    }
}

fn stop(record: &LoginRecord, node: &str, question: &LoginQuestion) -> StopReason {
    match record.clone().judge(node, question) {
        Verdict::Stop(reason) => reason,
        other => panic!("{node}: {other:?}"),
    }
}

fn presents(record: &LoginRecord, node: &str, question: &LoginQuestion) -> bool {
    matches!(record.clone().judge(node, question), Verdict::Present(_))
}

fn last(node: &str) -> EndedLogin {
    EndedLogin { node: node.to_owned(), detail: "CKR_PIN_INCORRECT".to_owned() }
}

#[test]
fn one_login_is_under_way_and_the_others_wait() {
    let Verdict::Present(record) = LoginRecord::default().judge("a", &fresh()) else { panic!() };
    assert_eq!(record.clone().judge("b", &taken()), Verdict::Wait { node: "a".to_owned() });
    let record = record.ended("a", LoginOutcome::Taken);
    assert_eq!(record, LoginRecord::default());
    assert!(presents(&record, "b", &fresh()));
}

#[test]
fn a_wrong_pin_at_nodes_that_never_logged_in_is_presented_once() {
    let record = present(LoginRecord::default(), "a", &fresh(), refused());
    assert_eq!(stop(&record, "a", &fresh()), StopReason::RefusedHere(Some(last("a"))));
    assert_eq!(stop(&record, "a", &taken()), StopReason::RefusedHere(Some(last("a"))), "whatever its file is by now");
    for node in ["b", "c"] {
        assert_eq!(stop(&record, node, &fresh()), StopReason::RefusedElsewhere(last("a")));
    }
}

#[test]
fn a_mistyped_pin_of_a_new_node_stops_no_other() {
    let record = present(LoginRecord::default(), "new", &fresh(), refused());
    let record = present(record, "b", &taken(), LoginOutcome::Taken);
    assert_eq!(record.refused, None);
    // From now on a node that was never taken may try again; the one that was refused may not.
    assert!(presents(&record, "c", &taken()) && presents(&record, "d", &fresh()));
    assert_eq!(stop(&record, "new", &taken()), StopReason::RefusedHere(None));
    let record = present(record.allow("new"), "new", &fresh(), LoginOutcome::Taken);
    assert_eq!(record, LoginRecord::default());
}

#[test]
fn a_pin_changed_in_the_token_costs_two_tries_and_then_each_node_waits_for_an_operator() {
    let record = present(LoginRecord::default(), "a", &taken(), refused());
    let record = present(record, "b", &taken(), refused());
    for (node, question) in [("c", taken()), ("d", fresh())] {
        assert_eq!(stop(&record, node, &question), StopReason::RefusedTwice(last("b")));
    }
    // One node is put right: it goes on from then on, by whatever file it has, and no other one does.
    let record = present(record.allow("a"), "a", &fresh(), LoginOutcome::Taken);
    assert!(presents(&record, "a", &fresh()) && presents(&record, "a", &taken()));
    assert_eq!(stop(&record, "c", &taken()), StopReason::RefusedTwice(last("b")));
    assert_eq!(stop(&record, "b", &taken()), StopReason::RefusedHere(Some(last("b"))));
    let record = present(record, "a", &taken(), LoginOutcome::Taken);
    assert!(record.is_closed, "what a cleared node's PIN does says nothing of the others'");
    // The operator's word for all.
    let record = record.allow_every_node();
    assert!(["a", "b", "c", "d"].iter().all(|node| presents(&record, node, &fresh())));
}

#[test]
fn an_allowed_login_is_one_and_what_it_shows_is_of_its_own_node() {
    let record = present(LoginRecord::default(), "a", &taken(), refused());
    let again = present(record.clone().allow("a"), "a", &taken(), refused());
    assert!(!again.is_closed && again.allowed.is_empty(), "the operator's try is no other node's");
    assert_eq!(stop(&again, "a", &taken()), StopReason::RefusedHere(Some(last("a"))));
    // It was put right, perhaps because the PIN in the token is another: others are found out about as before.
    let record = present(record.allow("a"), "a", &fresh(), LoginOutcome::Taken);
    assert_eq!(stop(&record, "d", &fresh()), StopReason::RefusedElsewhere(last("a")));
    let closed = present(record.clone(), "b", &taken(), refused());
    assert!(closed.is_closed && presents(&closed, "a", &taken()));
    // A cleared node that is refused again is stopped again, alone.
    let again = present(record, "a", &taken(), refused());
    assert!(!again.is_closed && presents(&again, "b", &taken()));
    assert_eq!(stop(&again, "a", &taken()), StopReason::RefusedHere(Some(last("a"))));
}

#[test]
fn an_answer_that_counts_no_try_leaves_everything_as_it_was() {
    for record in [LoginRecord::default(), LoginRecord::default().allow("a")] {
        assert_eq!(present(record.clone(), "a", &fresh(), LoginOutcome::NotCounted), record);
    }
    let refused = present(LoginRecord::default(), "a", &fresh(), refused());
    assert_eq!(present(refused.clone(), "b", &taken(), LoginOutcome::NotCounted), refused);
}

#[test]
fn a_login_that_ended_unknown_is_tried_once_more_by_a_pin_that_was_taken() {
    let record = present(LoginRecord::default(), "a", &taken(), killed());
    assert!(matches!(stop(&record, "b", &fresh()), StopReason::Unknown(Some(_))));
    let counted = LoginQuestion { counts_tries: true, ..taken() };
    assert!(matches!(stop(&record, "b", &counted), StopReason::UnknownAndCounted(Some(_))));
    assert_eq!(present(record.clone(), "b", &taken(), LoginOutcome::Taken), LoginRecord::default());
    let record = present(record, "a", &taken(), killed());
    for node in ["a", "b"] {
        assert!(matches!(stop(&record, node, &taken()), StopReason::UnknownTwice(Some(_))));
    }
    let record = present(record.allow("b"), "b", &counted, LoginOutcome::Taken);
    assert!(presents(&record, "a", &taken()) && presents(&record, "c", &fresh()));
}

#[test]
fn what_the_machine_remembers_counts_beside_the_record() {
    let record = LoginRecord::default();
    let with = |marker, question: LoginQuestion| LoginQuestion { marker, ..question };
    assert_eq!(stop(&record, "a", &with(PinMarker::Refused, taken())), StopReason::RefusedByFile);
    assert_eq!(stop(&record, "a", &with(PinMarker::Unknown, fresh())), StopReason::Unknown(None));
    assert!(presents(&record, "a", &with(PinMarker::Unknown, taken())));
    assert_eq!(stop(&record, "a", &with(PinMarker::UnknownTwice, taken())), StopReason::UnknownTwice(None));
    for marker in [PinMarker::Refused, PinMarker::Unknown, PinMarker::UnknownTwice] {
        assert!(presents(&record.clone().allow("a"), "a", &with(marker, fresh())), "an operator's word");
    }
}

#[test]
fn what_a_person_types_is_their_word() {
    let typed = LoginQuestion { is_typed: true, ..fresh() };
    let record = present(LoginRecord::default(), "a", &typed, refused());
    assert!(presents(&record, "a", &typed));
    assert_eq!(stop(&record, "b", &fresh()), StopReason::RefusedElsewhere(last("a")));
}

#[test]
fn a_login_that_never_said_how_it_ended_is_unknown_once_its_lease_is_over_or_its_node_asks_again() {
    let Verdict::Present(record) = LoginRecord::default().judge("a", &taken()) else { panic!() };
    let mut over = record.clone();
    over.presenting.as_mut().unwrap().is_over = true;
    assert!(presents(&over, "b", &taken()));
    assert!(matches!(stop(&over, "b", &fresh()), StopReason::Unknown(Some(_))));
    // The node's next process comes back by itself, once.
    let marked = |marker| LoginQuestion { marker, ..taken() };
    let Verdict::Present(second) = record.clone().judge("a", &marked(PinMarker::Unknown)) else { panic!() };
    assert_eq!(second.unknown, 1);
    assert!(matches!(stop(&second, "a", &marked(PinMarker::Unknown)), StopReason::UnknownTwice(Some(_))));
    // Its worker outlived the server and left no doubt: the PIN was taken, or refused.
    let settled = record.clone().settled("a", &taken());
    assert_eq!(settled, LoginRecord::default());
    let settled = record.clone().settled("a", &marked(PinMarker::Refused));
    assert!(settled.stopped.contains("a") && settled.presenting.is_none());
    assert_eq!(record.clone().settled("b", &taken()), record, "another node's is waited for");
}

#[test]
fn of_what_is_said_late_only_a_refusal_counts() {
    let Verdict::Present(mut record) = LoginRecord::default().judge("a", &taken()) else { panic!() };
    record.presenting.as_mut().unwrap().is_over = true;
    let Verdict::Present(record) = record.judge("b", &taken()) else { panic!() };
    assert_eq!(record.clone().ended("a", LoginOutcome::Taken), record);
    assert_eq!(record.clone().ended("a", killed()), record);
    let late = record.ended("a", refused());
    assert!(late.stopped.contains("a") && late.presenting.is_some());
    assert_eq!(late.clone().ended("a", refused()), late, "said twice it is one refusal");
    assert!(late.ended("b", refused()).is_closed);
}

#[test]
fn an_operators_word_for_all_leaves_the_login_under_way() {
    let Verdict::Present(record) = LoginRecord::default().judge("a", &taken()) else { panic!() };
    assert_eq!(record.allow_every_node().judge("b", &taken()), Verdict::Wait { node: "a".to_owned() });
}

#[test]
fn each_reason_says_what_to_do() {
    let ended = || Some(last("a"));
    let reasons = [
        StopReason::RefusedHere(ended()),
        StopReason::RefusedByFile,
        StopReason::RefusedElsewhere(last("a")),
        StopReason::RefusedTwice(last("a")),
        StopReason::Unknown(None),
        StopReason::UnknownAndCounted(ended()),
        StopReason::UnknownTwice(ended()),
    ];
    for reason in reasons {
        let text = reason.describe(&HsmName::new("primary"), "n1");
        assert!(text.contains("`signet hsm allow-login primary --node n1`"), "{text}");
    }
}
