//! The page on limits: it names those that there are, with the defaults in force.

use openraft_core::Config;

#[test]
fn the_page_on_limits_states_the_defaults_in_force() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let config = Config::default();
    let or_none = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    let replication = config.replication;
    let in_force = [
        ("memory_budget_bytes", config.memory_budget_bytes.to_string()),
        ("max_proposal_bytes", config.max_proposal_bytes.to_string()),
        ("max_uncommitted_bytes", config.max_uncommitted_bytes.to_string()),
        ("max_unapplied_bytes", config.max_unapplied_bytes.to_string()),
        ("max_apply_bytes", config.max_apply_bytes.to_string()),
        ("turn_bytes", config.turn_bytes.to_string()),
        ("turn_messages", config.turn_messages.to_string()),
        ("replication.max_append_bytes", replication.max_append_bytes.to_string()),
        ("replication.max_append_entries", replication.max_append_entries.to_string()),
        ("replication.max_inflight_bytes", replication.max_inflight_bytes.to_string()),
        ("replication.max_inflight_messages", replication.max_inflight_messages.to_string()),
        ("max_waiting_reads", config.max_waiting_reads.to_string()),
        ("max_peer_messages", config.max_peer_messages.to_string()),
        ("write_timeout_ms", config.write_timeout_ms.to_string()),
        ("read_timeout_ms", config.read_timeout_ms.to_string()),
        ("snapshot_every_entries", or_none(config.snapshot_every_entries)),
        ("snapshot_every_bytes", or_none(config.snapshot_every_bytes)),
        ("snapshot_interval_ms", or_none(config.snapshot_interval_ms)),
        ("snapshot_keep_entries", config.snapshot_keep_entries.to_string()),
        ("purge_pin_bytes", config.purge_pin_bytes.to_string()),
        ("purge_pin_absence_ms", config.purge_pin_absence_ms.to_string()),
    ];
    let stated: Vec<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(" |")?.0.to_owned())))
        .collect();
    for (name, default) in &in_force {
        let row = stated.iter().find(|(stated, _)| stated == name);
        assert_eq!(row.map(|(_, stated)| stated), Some(default), "{name}");
    }
    assert_eq!(stated.len(), in_force.len(), "a row for each and none besides: {stated:?}");
}
