//! The notation of the `Progress` table: a small command language over one `Progress`.

use openraft_engine::{Aim, AppendResult, LogId, LogIdOptionExt, Progress, ProgressState, ProgressWindows};

const WINDOWS: ProgressWindows = ProgressWindows {
    max_inflight_bytes: 100,
    max_inflight_messages: 4,
    max_append_bytes: 30,
    max_append_entries: 3,
};

const ENTRY_BYTES: u64 = 10;

/// The leader's entry at an index, `-` for before the first. All of them are of term 1 of node 1.
fn id(text: &str) -> Option<LogId<u64>> {
    (text != "-").then(|| LogId::new(1, 1, text.parse().expect("an index")))
}

fn before(index: u64) -> Option<LogId<u64>> {
    index.checked_sub(1).map(|index| LogId::new(1, 1, index))
}

#[derive(Default)]
pub(crate) struct Flow(Option<Progress<u64>>);

impl Flow {
    pub(crate) fn act(&mut self, row: &str) -> String {
        let mut words = row.split_whitespace();
        let Some(command) = words.next() else {
            self.0 = None;
            return String::new();
        };
        let argument = words.next().unwrap_or("-");
        if command == "new" {
            self.0 = Some(Progress::new(id(argument), WINDOWS));
        }
        let progress = self.0.as_mut().expect("a group begins with `new`");
        let said = carry_out(progress, command, argument);
        let state = print(progress);
        if said.is_empty() { state } else { format!("{said}; {state}") }
    }
}

/// Does it; returns what there is to say besides the state.
fn carry_out(progress: &mut Progress<u64>, command: &str, argument: &str) -> String {
    let number = || argument.parse::<u64>().expect("an index");
    match command {
        "new" => {}
        "send" => return send(progress, number()),
        "ack" => return reply(progress, AppendResult::Matched(id(argument))),
        "conflict" => return reply(progress, AppendResult::Conflict { hint: id(argument) }),
        "busy" => return reply(progress, AppendResult::Busy),
        "refused" => return reply(progress, AppendResult::Refused),
        "higher" => return reply(progress, AppendResult::HigherVote),
        "lower" => progress.lower_probe(number()),
        "break" => progress.on_broken(),
        "resume" => progress.resume(),
        "compact" => progress.on_compacted(number()),
        "chosen" => progress.on_snapshot_chosen(id(argument)),
        "installed" => progress.on_snapshot_done(id(argument)),
        "failed" => progress.on_snapshot_failed(),
        other => panic!("`{other}` is no command"),
    }
    String::new()
}

/// Sends one message of the log that ends before `end`, if one may be sent.
fn send(progress: &mut Progress<u64>, end: u64) -> String {
    let Some(plan) = progress.next_send(end) else { return "sends nothing".to_owned() };
    let start = plan.entries.start;
    let fit = (plan.max_bytes / ENTRY_BYTES).max(1);
    let end = plan.entries.end.min(start + fit);
    progress.sent(before(start), before(end), (end - start) * ENTRY_BYTES);
    if start == end { format!("probes at {start}") } else { format!("sends {start}..{end}") }
}

fn reply(progress: &mut Progress<u64>, result: AppendResult<u64>) -> String {
    use openraft_engine::ReplyEffect::{Conflict, Matched, Paused, Stale};
    match progress.on_reply(result) {
        Ok(Matched) => String::new(),
        Ok(Conflict { .. }) => "differs".to_owned(),
        Ok(Paused) => "pauses".to_owned(),
        Ok(Stale) => "says nothing".to_owned(),
        Err(lie) => {
            let lie = format!("{lie:?}");
            format!("not believed ({})", lie.split([' ', '{']).next().unwrap_or_default())
        }
    }
}

fn print(progress: &Progress<u64>) -> String {
    let state = match progress.state() {
        ProgressState::Probe(Aim::Guess) => "probe".to_owned(),
        ProgressState::Probe(Aim::Retry) => "probe again".to_owned(),
        ProgressState::Probe(Aim::Hint) => "probe the hint".to_owned(),
        ProgressState::Replicate => "replicate".to_owned(),
        ProgressState::Snapshot { needed } => format!("snapshot, keep {needed}"),
    };
    let matched = progress.matched().index().map_or("-".to_owned(), |index| index.to_string());
    let mut out = format!("{state}: matched {matched}, next {}", progress.next());
    if progress.inflight_messages() > 0 {
        out += &format!(", under way {} of {} B", progress.inflight_messages(), progress.inflight_bytes());
    }
    if progress.is_paused() {
        out += ", paused";
    }
    out
}
