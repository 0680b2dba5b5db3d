//! Tables of `Progress`: one behaviour each.
