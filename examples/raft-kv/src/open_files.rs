//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is left to the store, its log and everything that is no connection.
const OTHER_FILES: u64 = 64;

/// More connections than this serve nobody: their buffers would take the memory that entries need.
const MAX_CONNECTIONS: u64 = 16_384;

/// Raises the limit as far as the system permits without asking, which is often from 1,024 to many more, and returns
/// how many connections there may be.
pub(crate) fn make_room_for_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    connections(if raised { maximum } else { current })
}

/// `None` is no limit.
fn connections(files: Option<u64>) -> usize {
    let room = files.map_or(MAX_CONNECTIONS, |files| {
        files.saturating_sub(OTHER_FILES).clamp(OTHER_FILES, MAX_CONNECTIONS)
    });
    usize::try_from(room).expect("it is a small number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files_and_have_a_limit_of_their_own() {
        let table = [(Some(1_024), 960), (Some(20_000), 16_384), (None, 16_384), (Some(20), 64)];
        for (files, expected) in table {
            assert_eq!(connections(files), expected, "{files:?}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        make_room_for_connections();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
