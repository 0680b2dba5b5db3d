//! How far a run is, as a line on a terminal that is written over.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::worker::Load;

const BAR_WIDTH: usize = 24;

/// Shows it until dropped, if there is a terminal; flushes the history now and then in any case.
pub(super) async fn show(load: &Load, seconds: u64) {
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut interval = tokio::time::interval(Duration::from_millis(500));
    let mut before = (started, 0);
    loop {
        interval.tick().await;
        if let Some(history) = &load.history {
            history.flush();
        }
        if terminal {
            let (answered, (errors, unknown)) = {
                let stats = load.stats();
                (stats.answered(), stats.troubles())
            };
            let now = Instant::now();
            let since = now.saturating_duration_since(before.0).as_secs_f64().max(0.001);
            let rate = (answered - before.1) as f64 / since;
            before = (now, answered);
            let line = line(now.saturating_duration_since(started), seconds, rate, errors, unknown);
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush(); // Progress that cannot be shown is no reason to stop.
        }
    }
}

/// Takes the line away.
pub(super) fn clear() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn line(elapsed: Duration, seconds: u64, rate: f64, errors: u64, unknown: u64) -> String {
    let share = (elapsed.as_secs_f64() / seconds as f64).min(1.0);
    let done = (share * BAR_WIDTH as f64) as usize;
    format!(
        "[{}{}] {}/{seconds} s  {rate:.0} ops/s  {errors} errors  {unknown} unknown",
        "#".repeat(done),
        "-".repeat(BAR_WIDTH - done),
        elapsed.as_secs().min(seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_the_time_and_stays_full_while_the_last_answers_come() {
        let at = |secs| line(Duration::from_secs(secs), 10, 1234.4, 1, 2);
        assert_eq!(at(0), "[------------------------] 0/10 s  1234 ops/s  1 errors  2 unknown");
        assert_eq!(at(5), "[############------------] 5/10 s  1234 ops/s  1 errors  2 unknown");
        assert_eq!(at(15), "[########################] 10/10 s  1234 ops/s  1 errors  2 unknown");
    }
}
