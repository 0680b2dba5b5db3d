//! When nothing was acknowledged, and which faults went on then. Pure.

use super::inflict::Inflicted;

/// Windows shorter than this are not listed.
pub const LISTED_NS: u64 = 1_000_000_000;

/// A fault may still be felt for so long after those whom it met serve again: connections are made anew, leaders found.
const AFTERMATH_NS: u64 = 2_000_000_000;

/// A time without an acknowledged operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the last operation before it was acknowledged.
    pub begin_ns: u64,
    /// When the first one after it was.
    pub end_ns: u64,
}

impl Window {
    /// How long it was, in milliseconds.
    pub fn ms(&self) -> u64 {
        (self.end_ns - self.begin_ns) / 1_000_000
    }
}

/// The times between acknowledgements, in order. `times` need not be in order; `until` is when the run was over.
pub fn windows(mut times: Vec<u64>, begin: u64, until: u64) -> Vec<Window> {
    times.retain(|time| (begin..=until).contains(time));
    times.extend([begin, until]);
    times.sort_unstable();
    times.windows(2).map(|pair| Window { begin_ns: pair[0], end_ns: pair[1] }).collect()
}

/// The faults that went on in the window, or a moment before it.
pub fn causes<'a>(window: &Window, faults: &'a [Inflicted]) -> Vec<&'a Inflicted> {
    let meets = |fault: &&Inflicted| {
        fault.begin_ns <= window.end_ns && fault.end_ns.saturating_add(AFTERMATH_NS) >= window.begin_ns
    };
    faults.iter().filter(meets).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fault::Kind;
    use super::*;

    #[test]
    fn a_window_lies_between_two_acknowledgements_and_at_both_ends() {
        let found = windows(vec![30, 10, 12, 99], 5, 50);
        let found: Vec<(u64, u64)> = found.iter().map(|window| (window.begin_ns, window.end_ns)).collect();
        assert_eq!(found, [(5, 10), (10, 12), (12, 30), (30, 50)]);
        assert_eq!(windows(Vec::new(), 5, 50).len(), 1);
    }

    #[test]
    fn a_window_belongs_to_what_went_on_in_it_or_just_before() {
        let second = 1_000_000_000;
        let fault = |begin: u64, end: u64| Inflicted {
            kind: Kind::Kill,
            what: String::new(),
            begin_ns: begin * second,
            end_ns: end * second,
        };
        let faults = [fault(1, 2), fault(5, 9), fault(14, 16), fault(30, 31)];
        let window = Window { begin_ns: 10 * second, end_ns: 15 * second };
        let found: Vec<u64> = causes(&window, &faults).iter().map(|fault| fault.begin_ns / second).collect();
        assert_eq!(found, [5, 14]);
    }
}
