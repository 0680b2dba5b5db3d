//! Short histories, known good and known bad.

use openraft_tests::history::{Operation, Violation, check};

use crate::make::{cas, delete, failed, found, get, put, unknown};

fn assert_good(operations: &[Operation]) {
    let summary = check(operations).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(summary.is_decided());
}

fn assert_bad(operations: &[Operation]) -> Violation {
    check(operations).expect_err("nothing explains it")
}

#[test]
fn what_happens_one_after_the_other_is_as_it_is_told() {
    assert_good(&[
        get(1, "", 0, 1),
        put(1, "a", 2, 3),
        get(2, "a", 4, 5),
        cas(1, "a", "b", 6, 7),
        found("b", cas(2, "a", "c", 8, 9)),
        get(2, "b", 10, 11),
        delete(1, 12, 13),
        get(2, "", 14, 15),
        cas(1, "", "d", 16, 17),
        get(2, "d", 18, 19),
    ]);
}

#[test]
fn of_two_writes_at_once_either_may_be_the_last() {
    assert_good(&[put(1, "a", 0, 10), put(2, "b", 1, 9), get(3, "a", 11, 12)]);
    assert_good(&[put(1, "a", 0, 10), put(2, "b", 1, 9), get(3, "b", 11, 12)]);
}

#[test]
fn a_read_beside_a_write_may_see_it_or_not_and_later_ones_agree() {
    assert_good(&[
        put(1, "a", 0, 1),
        put(1, "b", 2, 20),
        get(2, "a", 3, 4),
        get(3, "b", 5, 6),
        get(2, "b", 7, 8),
    ]);
    assert_bad(&[put(1, "a", 0, 1), put(1, "b", 2, 20), get(2, "b", 3, 4), get(3, "a", 5, 6)]);
}

#[test]
fn what_only_touches_may_be_in_either_order() {
    assert_good(&[put(1, "a", 0, 5), get(2, "", 5, 6)]);
    assert_bad(&[put(1, "a", 0, 5), get(2, "", 6, 7)]);
}

#[test]
fn a_stale_read_is_seen() {
    assert_bad(&[put(1, "a", 0, 1), put(1, "b", 2, 3), get(2, "a", 4, 5)]);
}

#[test]
fn a_lost_write_is_seen() {
    assert_bad(&[put(1, "a", 0, 1), get(2, "", 2, 3)]);
}

#[test]
fn a_read_from_the_future_is_seen() {
    assert_bad(&[get(2, "a", 0, 1), put(1, "a", 2, 3)]);
    assert_bad(&[get(2, "a", 0, 1), unknown(put(1, "a", 2, 3))]);
}

#[test]
fn a_value_that_nobody_wrote_is_seen() {
    assert_bad(&[put(1, "a", 0, 1), get(2, "z", 2, 3)]);
}

#[test]
fn two_cas_from_one_value_do_not_both_succeed() {
    assert_bad(&[put(1, "a", 0, 1), cas(1, "a", "b", 2, 10), cas(2, "a", "c", 2, 10)]);
    assert_bad(&[cas(1, "", "b", 2, 10), cas(2, "", "c", 2, 10)]);
    assert_good(&[put(1, "a", 0, 1), cas(1, "a", "b", 2, 10), unknown(cas(2, "a", "c", 2, 10))]);
}

#[test]
fn two_cas_from_an_absent_key_succeed_if_it_was_removed_between_them() {
    assert_good(&[cas(1, "", "b", 2, 10), cas(2, "", "c", 2, 10), delete(3, 0, 20)]);
    assert_good(&[cas(1, "", "b", 2, 10), cas(2, "", "c", 2, 10), unknown(delete(3, 0, 20))]);
    assert_bad(&[cas(1, "", "b", 2, 10), cas(2, "", "c", 2, 10), delete(3, 11, 20)]);
}

#[test]
fn an_unknown_write_may_come_late() {
    assert_good(&[
        put(1, "a", 0, 1),
        unknown(put(2, "b", 2, 3)),
        get(3, "a", 10, 11),
        put(1, "c", 12, 13),
        get(3, "c", 14, 15),
        get(3, "b", 20, 21),
    ]);
}

#[test]
fn an_unknown_write_may_never_come() {
    assert_good(&[put(1, "a", 0, 1), unknown(put(2, "b", 2, 3)), get(3, "a", 10, 11), get(3, "a", 20, 21)]);
}

#[test]
fn an_unknown_write_that_came_does_not_go_away_again() {
    assert_bad(&[put(1, "a", 0, 1), unknown(put(2, "b", 2, 3)), get(3, "b", 10, 11), get(3, "a", 20, 21)]);
}

#[test]
fn an_unknown_write_does_not_come_twice() {
    assert_bad(&[
        unknown(put(2, "b", 0, 1)),
        get(3, "b", 2, 3),
        put(1, "a", 4, 5),
        get(3, "a", 6, 7),
        get(3, "b", 8, 9),
    ]);
}

#[test]
fn an_unknown_delete_comes_once_at_most() {
    let twice_absent = [
        put(1, "a", 0, 1),
        unknown(delete(2, 2, 3)),
        get(1, "", 4, 5),
        put(1, "b", 6, 7),
        get(1, "b", 8, 9),
        get(1, "", 10, 11),
    ];
    assert_bad(&twice_absent);
    let mut explained = twice_absent.to_vec();
    explained.push(unknown(delete(3, 0, 1)));
    assert_good(&explained);
}

#[test]
fn an_unknown_cas_that_was_seen_found_what_it_expected() {
    assert_good(&[put(1, "a", 0, 1), unknown(cas(2, "a", "b", 2, 3)), get(3, "b", 10, 11)]);
    assert_bad(&[put(1, "a", 0, 1), put(1, "c", 2, 3), unknown(cas(2, "a", "b", 4, 5)), get(3, "b", 10, 11)]);
}

#[test]
fn what_failed_never_takes_effect() {
    assert_bad(&[put(1, "a", 0, 1), failed(put(2, "b", 2, 3)), get(3, "b", 4, 5)]);
    assert_bad(&[put(1, "a", 0, 1), failed(cas(2, "a", "b", 2, 3)), get(3, "b", 4, 5)]);
    assert_bad(&[put(1, "a", 0, 1), failed(delete(2, 2, 3)), get(3, "", 4, 5)]);
    assert_good(&[put(1, "a", 0, 1), failed(put(2, "b", 2, 3)), get(3, "a", 4, 5)]);
}

#[test]
fn a_cas_fails_only_where_it_finds_something_else() {
    assert_bad(&[put(1, "a", 0, 1), found("a", cas(2, "a", "b", 2, 3))]);
}

#[test]
fn a_cas_that_failed_found_what_was_there() {
    assert_bad(&[put(1, "a", 0, 1), put(1, "c", 2, 3), found("a", cas(2, "x", "b", 4, 5))]);
    assert_good(&[put(1, "a", 0, 1), put(1, "c", 2, 10), found("a", cas(2, "x", "b", 4, 5))]);
}

#[test]
fn a_failed_cas_that_does_not_tell_what_it_found_says_nothing() {
    assert_good(&[put(1, "a", 0, 1), failed(cas(2, "a", "b", 2, 3)), get(1, "a", 4, 5)]);
}

#[test]
fn a_read_that_got_no_answer_says_nothing() {
    assert_good(&[put(1, "a", 0, 1), unknown(get(2, "z", 2, 3)), failed(get(2, "z", 2, 3))]);
}

#[test]
fn keys_are_registers_of_their_own() {
    let elsewhere = |operation: Operation| Operation { key: "other".to_owned(), ..operation };
    assert_good(&[put(1, "a", 0, 1), elsewhere(get(2, "", 2, 3)), get(2, "a", 4, 5)]);
    let violation = assert_bad(&[put(1, "a", 0, 1), elsewhere(get(2, "a", 2, 3))]);
    assert_eq!((violation.key.as_str(), violation.of), ("other", 1));
}

#[test]
fn a_chain_of_cas_is_followed_past_writes_that_nobody_saw() {
    assert_good(&[
        put(9, "unseen", 0, 100),
        put(1, "a", 0, 100),
        put(8, "unseen too", 0, 100),
        cas(2, "a", "b", 0, 100),
        cas(3, "b", "c", 0, 100),
        get(4, "c", 0, 100),
        get(5, "a", 0, 100),
        get(6, "b", 50, 51),
        get(7, "c", 52, 100),
    ]);
}

/// Of a history with much in it, only what contradicts itself is shown.
#[test]
fn a_counter_example_is_as_small_as_it_can_be() {
    let mut operations: Vec<Operation> =
        (0..100).map(|n| put(n % 7, &format!("v{n}"), 10 * n, 10 * n + 12)).collect();
    operations.extend((0..100).map(|n| get(9, &format!("v{n}"), 10 * n + 6, 10 * n + 13)));
    operations.push(get(8, "v49", 600, 610));
    let violation = assert_bad(&operations);
    assert_eq!(violation.of, 201);
    assert!(violation.operations.len() <= 4, "{violation}");
    assert!(violation.operations.iter().any(|operation| operation.client == 8), "{violation}");
    assert_bad(&violation.operations);
}

#[test]
fn a_counter_example_begins_late_where_the_register_may_have_held_anything_before() {
    let mut operations: Vec<Operation> = Vec::new();
    for n in 0..1_000 {
        operations.push(put(1, &format!("v{n}"), 100 * n, 100 * n + 1));
        operations.push(delete(2, 100 * n + 10, 100 * n + 11));
        operations.push(get(3, "", 100 * n + 20, 100 * n + 21));
    }
    operations.push(put(1, "last", 200_000, 200_001));
    operations.push(get(2, "", 200_002, 200_003));
    let violation = assert_bad(&operations);
    assert_eq!(violation.operations.len(), 2, "{violation}");
    assert!(violation.anything_before);
}

#[test]
fn a_counter_example_reads_as_a_timeline() {
    let violation =
        assert_bad(&[put(1, "a", 1_000, 2_000), put(4, "b", 2_500, 3_000), get(12, "a", 4_000, 5_500)]);
    let shown = violation.to_string();
    let expected = r#"
not linearizable: key "k". No order of these 3 of its 3 operations
explains what they returned, the key being absent at first.
  [==]                         0.000         1.000  client 1    put "a"
        [==]                   1.500         2.000  client 4    put "b"
              [==]             3.000         4.500  client 12   get -> "a"
  (call and return in microseconds after the first call; the picture keeps order, not distance)"#;
    assert_eq!(shown, expected.trim_start_matches('\n'), "{shown}");
}
