//! Tables in text files, which read as documentation: quorums, membership changes, `Progress`; and what must hold for
//! all of them, against slow obvious twins.

mod flow;
mod members;
mod quorums;
mod rows;
mod twins;

#[test]
fn quorums_commit_as_the_table_says() {
    rows::judge("quorum-commit.txt", quorums::commit);
}

#[test]
fn polls_end_as_the_table_says() {
    rows::judge("quorum-vote.txt", quorums::vote);
}

#[test]
fn memberships_change_as_the_table_says() {
    rows::judge("membership.txt", members::changed);
}

#[test]
fn progress_goes_as_the_table_says() {
    let mut flow = flow::Flow::default();
    rows::judge("progress.txt", |row| flow.act(row));
}
