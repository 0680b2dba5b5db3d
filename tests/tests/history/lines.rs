//! Reading and writing histories.

use openraft_tests::history::{Operation, read_lines, write_lines};

use crate::make::{cas, delete, found, get, put, unknown};

fn error(text: &str) -> String {
    read_lines(text.as_bytes()).expect_err("no history").to_string()
}

#[test]
fn what_was_written_is_read() {
    let operations: Vec<Operation> = vec![
        put(1, "a", 0, 1),
        get(2, "", 2, 3),
        unknown(cas(3, "", "b", 4, 5)),
        found("b", cas(3, "a", "c", 4, 5)),
        delete(4, u64::MAX - 1, u64::MAX),
    ];
    let mut text = Vec::new();
    write_lines(&mut text, &operations).expect("memory takes all");
    assert_eq!(read_lines(&text[..]).expect("a history"), operations);
}

#[test]
fn a_line_has_the_documented_fields() {
    let mut text = Vec::new();
    write_lines(&mut text, &[found("b", cas(3, "a", "c", 4, 5)), unknown(put(1, "d", 6, 7))])
        .expect("written");
    let expected = r#"
{"client":3,"op":"cas","key":"k","value":"c","expect":"a","call_ns":4,"return_ns":5,"outcome":"fail","read":"b"}
{"client":1,"op":"put","key":"k","value":"d","expect":null,"call_ns":6,"return_ns":null,"outcome":"unknown","read":null}
"#;
    assert_eq!(String::from_utf8(text).expect("text"), expected.trim_start());
}

#[test]
fn what_is_null_may_be_left_out_and_empty_lines_too() {
    let text =
        "\n{\"client\":1,\"op\":\"get\",\"key\":\"k\",\"call_ns\":1,\"return_ns\":2,\"outcome\":\"ok\"}\n\n";
    assert_eq!(read_lines(text.as_bytes()).expect("a history"), [get(1, "", 1, 2)]);
}

#[test]
fn what_is_no_operation_is_named_by_its_line() {
    let good = r#"{"client":1,"op":"get","key":"k","call_ns":1,"return_ns":2,"outcome":"ok"}"#;
    assert!(error(&format!("{good}\nnonsense")).starts_with("line 2: "));
    assert!(error(&good.replace("get", "take")).contains("unknown variant"));
    assert!(error(&good.replace(r#""key":"k","#, "")).contains("missing field `key`"));
}

#[test]
fn an_operation_that_contradicts_itself_is_refused() {
    let good = r#"{"client":1,"op":"get","key":"k","call_ns":1,"return_ns":2,"outcome":"ok"}"#;
    assert_eq!(
        error(&good.replace(r#""call_ns":1"#, r#""call_ns":3"#)),
        "line 1: it returned before it was called"
    );
    assert_eq!(
        error(&good.replace(r#""return_ns":2"#, r#""return_ns":null"#)),
        "line 1: it is ok, but no answer came"
    );
    let stores = "line 1: it stores something, but it is not said what";
    assert_eq!(error(&good.replace("get", "put")), stores);
    assert_eq!(error(&good.replace("get", "cas")), stores);
}
