//! The notation of the quorum tables.

use std::collections::{BTreeMap, BTreeSet};

use openraft_engine::quorum::{VoteResult, committed, vote_result};

use crate::rows::ids;

/// Greater than every value in the tables.
const TOP: u64 = 1_000;

/// `{1,2,3}+{3,4}`, or `none`.
fn sets(text: &str) -> Vec<BTreeSet<u64>> {
    let text = text.trim();
    if text == "none" {
        Vec::new()
    } else {
        text.split('+').map(|set| ids(set).into_iter().collect()).collect()
    }
}

/// `1:9 2:7`.
fn values(text: &str) -> BTreeMap<u64, &str> {
    let pair = |word: &str| word.split_once(':').map(|(id, _)| ids(id)[0]).expect("a colon");
    text.split_whitespace().map(|word| (pair(word), word.split_once(':').expect("a colon").1)).collect()
}

pub(crate) fn commit(row: &str) -> String {
    let Some((voters, reached)) = row.split_once('|') else { return String::new() };
    let reached = values(reached);
    let result =
        committed(&sets(voters), TOP, |id| reached.get(id).map(|value| value.parse().expect("a number")));
    match result {
        Some(TOP) => "everything".to_owned(),
        Some(index) => index.to_string(),
        None => "nothing".to_owned(),
    }
}

pub(crate) fn vote(row: &str) -> String {
    let Some((voters, answers)) = row.split_once('|') else { return String::new() };
    let answers = values(answers);
    let result = vote_result(&sets(voters), |id| match answers.get(id).copied() {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        Some(other) => panic!("`{other}` is no answer"),
        None => None,
    });
    let word = match result {
        VoteResult::Won => "won",
        VoteResult::Lost => "lost",
        VoteResult::Pending => "pending",
    };
    word.to_owned()
}
