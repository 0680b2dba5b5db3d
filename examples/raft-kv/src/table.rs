//! The table of nodes that `status` and `demo` show.

use std::fmt::Write as _;

use crate::wire::NodeStatus;

const HEADINGS: [&str; 10] =
    ["id", "process id", "role", "term", "leader", "last log", "committed", "applied", "snapshot", "address"];

/// One line for each node, and below them what they wait for. A node without a status shows why in its line.
pub(crate) fn render(nodes: &[(String, Result<NodeStatus, String>)]) -> String {
    let index = |index: Option<u64>| index.map_or("-".to_owned(), |i| i.to_string());
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    let mut notes = String::new();
    for (address, status) in nodes {
        match status {
            Ok(s) => {
                rows.push([
                    s.id.to_string(),
                    s.pid.to_string(),
                    s.role.clone(),
                    s.term.to_string(),
                    index(s.leader),
                    index(s.last_log_index),
                    index(s.committed_index),
                    index(s.applied_index),
                    index(s.snapshot_index),
                    s.address.clone(),
                ]);
                for sentence in &s.waiting_for {
                    let _ = writeln!(notes, "node {} waits: {sentence}", s.id);
                }
            }
            Err(reason) => {
                let mut row = [(); 10].map(|()| "-".to_owned());
                row[2] = "down".to_owned();
                row[9] = address.clone();
                rows.push(row);
                let _ = writeln!(notes, "{address}: {reason}");
            }
        }
    }
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out + &notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_a_node_that_is_down_says_why_below() {
        let status = NodeStatus {
            id: 1,
            pid: 4242,
            role: "leader".into(),
            term: 3,
            leader: Some(1),
            last_log_index: Some(12),
            snapshot_index: Some(7),
            address: "a:1".into(),
            waiting_for: vec!["node 2 does not answer".into()],
            ..NodeStatus::default()
        };
        let text = render(&[("a:1".into(), Ok(status)), ("b:2".into(), Err("connection refused".into()))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "id  process id  role    term  leader  last log  committed  applied  snapshot  address"
        );
        assert_eq!(
            lines[1],
            "1   4242        leader  3     1       12        -          -        7         a:1"
        );
        assert_eq!(
            lines[2],
            "-   -           down    -     -       -         -          -        -         b:2"
        );
        assert_eq!(lines[3..], ["node 1 waits: node 2 does not answer", "b:2: connection refused"]);
    }
}
